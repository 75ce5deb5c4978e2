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

/// The number of signs by which the beginning of a token is known.
const OF_A_BEGINNING: usize = 4;

/// The place where a word begins: also behind an escape of JSON, of a program's source or of an address, whose last letter
/// is not of the word.
pub(crate) const SEAM: &str =
    r#"(?:(?-u:\b)|\\(?:[abfnrtv0"'\\/]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})|%[0-9a-fA-F]{2})"#;

const TOKENS: &[Tokens] = &[
    Tokens {
        // Matrix Authentication Service, with the checksum.
        begin: &["m(?:[ac]t|ar)_[A-Za-z0-9]{16,64}_"],
        signs: LETTERS,
        least: 6,
    },
    Tokens {
        // The bots of Discord: a number in Base64 is before the first point.
        begin: &["[MNO][A-Za-z0-9]{22,27}[.][A-Za-z0-9_-]{6}[.]"],
        signs: WORD,
        least: 27,
    },
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
            // GitLab, PyPI, Anthropic and OpenAI, Vault, Google, Square, Tailscale, Docker.
            "gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rtr?|soat|wt)-",
            "GR1348941",
            "pypi-AgE",
            "sk-(?:ant|proj|svcacct|admin)-",
            "hv[sbr][.]",
            "ya29[.]",
            "GOCSPX-",
            "dckr_[op]at_",
            "sq0(?:atp|csp)-",
            "tskey-[a-z]{3,9}-",
        ],
        signs: WORD,
        least: 16,
    },
    Tokens {
        begin: &[
            // Shopify, Databricks, Twilio, DigitalOcean, Pulumi, RubyGems, Sentry, Shippo, Sourcegraph, Brevo, Mailgun.
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
            "key-",
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

/// Returns a pattern for whole tokens, which takes no hash, path or sentence for one. A [`SEAM`] is before them.
pub(crate) fn whole() -> String {
    pattern(usize::MAX)
}

/// Returns a pattern for tokens whose end may have been cut off. A [`SEAM`] is before them.
pub(crate) fn whole_or_cut() -> String {
    pattern(OF_A_PART)
}

/// Returns a pattern for the beginnings of tokens, of JWTs and of the seeds of nkeys.
pub(crate) fn beginning() -> String {
    format!("(?:eyJ[A-Za-z0-9_-]{{4}}|S[ACNOUX][A-Z2-7]{{8}}|{})", pattern(OF_A_BEGINNING))
}

fn pattern(most: usize) -> String {
    let kinds = TOKENS.iter().map(|Tokens { begin, signs, least }| {
        format!("(?:{}){signs}{{{},}}", begin.join("|"), most.min(*least))
    });
    format!("(?:{})", kinds.collect::<Vec<_>>().join("|"))
}
