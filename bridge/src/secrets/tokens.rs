//! The tokens that are known by how they begin.
//!
//! The beginnings, signs and lengths are those that the senders document, and that the rules of gitleaks
//! (<https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml>) list.

/// Tokens with the same signs and length behind their beginnings.
struct Tokens {
    /// The beginnings, each a regular expression.
    begin: &'static [&'static str],
    /// The signs that follow.
    signs: &'static str,
    /// The number of signs that the shortest of these tokens has at least.
    least: usize,
}

const LETTERS: &str = "[A-Za-z0-9]";
const CAPITALS: &str = "[A-Z0-9]";
const HEX: &str = "[A-Fa-f0-9]";
const WORD: &str = "[A-Za-z0-9_-]";
const DOTTED: &str = "[A-Za-z0-9_.=-]";
const BASE64: &str = "[A-Za-z0-9+/=_-]";

/// The number of signs by which a token is known whose end was cut off.
const OF_A_PART: usize = 16;

const TOKENS: &[Tokens] = &[
    Tokens {
        begin: &[
            // Slack, and Synapse.
            "xox[abcdeoprs]-",
            "xapp-",
            "sy[tlr]_",
        ],
        signs: WORD,
        least: 10,
    },
    Tokens {
        begin: &[
            // Stripe, and the databases of Neon.
            "[rs]k_(?:live|test|prod)_",
            "npg_",
        ],
        signs: LETTERS,
        least: 12,
    },
    Tokens {
        begin: &[
            // AWS, Octopus Deploy, New Relic, age.
            "(?:AKIA|ASIA|ABIA|ACCA)",
            "API-[A-Z0-9]{10}",
            "NRAK-",
            "AGE-SECRET-KEY-1",
        ],
        signs: CAPITALS,
        least: 16,
    },
    Tokens {
        begin: &[
            // GitLab, PyPI, Anthropic and OpenAI, Vault, Google, Square, Tailscale.
            "gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rtr?|soat|wt)-",
            "GR1348941",
            "pypi-AgE",
            "sk-(?:ant|proj|svcacct|admin)-",
            "hv[sbr][.]",
            "ya29[.]",
            "sq0(?:atp|csp)-",
            "tskey-[a-z]{3,9}-",
        ],
        signs: WORD,
        least: 16,
    },
    Tokens {
        begin: &[
            // Shopify, Databricks, Twilio, DigitalOcean, Pulumi, RubyGems, Sentry, Shippo, Sourcegraph, Brevo.
            "shp(?:at|ca|pa|ss)_",
            "dapi",
            "SK",
            "do[opr]_v1_",
            "pul-",
            "rubygems_",
            "sntryu_",
            "shippo_(?:live|test)_",
            "sgp_(?:local_|[a-f0-9]{16}_)?",
            "xkeysib-",
        ],
        signs: HEX,
        least: 32,
    },
    Tokens {
        begin: &[
            // GitHub, npm, Hugging Face, Prefect, Linear, ReadMe, Perplexity, Notion, Artifactory, Alibaba.
            "gh[pousr]_",
            "npm_",
            "hf_",
            "api_org_",
            "pnu_",
            "lin_api_",
            "rdme_",
            "pplx-",
            "ntn_",
            "AKCp",
            // Matrix Authentication Service, and the older keys of OpenAI.
            "m(?:[ac]t|ar)_",
            "sk-",
        ],
        signs: LETTERS,
        least: 30,
    },
    Tokens {
        begin: &[
            // Grafana, GitHub, Google, Telegram, OpenShift, Heroku, Fly.io.
            "glsa_",
            "github_pat_",
            "AIza",
            "(?:bot)?[0-9]{8,10}:AA",
            "sha256~",
            "HRKU-AA",
            "fo1_",
        ],
        signs: WORD,
        least: 30,
    },
    Tokens {
        begin: &[
            // SendGrid, Doppler, Dynatrace, PlanetScale, Terraform Cloud, Atlassian, Postman.
            "SG[.]",
            "dp[.](?:pt|st|ct|sa|scim|audit)[.]",
            "dt0[cs][0-9]{2}[.]",
            "pscale_(?:tkn|oauth|pw)_",
            "[A-Za-z0-9]{14}[.]atlasv1[.]",
            "ATATT3",
            "PMAK-",
        ],
        signs: DOTTED,
        least: 30,
    },
    Tokens {
        begin: &[
            // Grafana Cloud, Sentry, webhooks of Stripe, 1Password, Fly.io, AWS Bedrock.
            "glc_",
            "sntrys_",
            "whsec_",
            "ops_eyJ",
            "fm(?:1[ar]|2)_",
            "ABSK",
        ],
        signs: BASE64,
        least: 30,
    },
];

/// Returns a pattern for whole tokens, which takes no hash, path or sentence for one.
pub(crate) fn whole() -> String {
    pattern(usize::MAX)
}

/// Returns a pattern for tokens whose end may have been cut off.
pub(crate) fn whole_or_cut() -> String {
    pattern(OF_A_PART)
}

fn pattern(most: usize) -> String {
    let kinds = TOKENS.iter().map(|Tokens { begin, signs, least }| {
        format!("(?:{}){signs}{{{},}}", begin.join("|"), most.min(*least))
    });
    format!(r"(?-u:\b)(?:{})", kinds.collect::<Vec<_>>().join("|"))
}
