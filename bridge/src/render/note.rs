//! Shows notes: events that nobody has to act on.

use minijinja::{Value as View, context};

use crate::{
    message::{
        Commit, Deed, ForgeEvent, ForgeEventKind, Note, Outcome, Push, Reference, Remark, Thing,
    },
    render::{
        voice::Voice,
        words::{NOTICE_MARK, Words},
    },
    text::shown,
};

/// The number of commits that are shown. The others are counted, and can be read behind the link.
const MOST_COMMITS: usize = 10;

/// The number of characters that are shown of a comment, a review or the subject of a commit.
const EXCERPT_CHARS: usize = 300;

/// A line, and the address that it leads to.
struct Line {
    text: String,
    url: Option<String>,
}

pub(super) fn view(note: &Note, voice: &Voice) -> View {
    let words = voice.words;
    match note {
        Note::Forge(event) => {
            let headline = Line { text: headline(event, words), url: event.url.clone() };
            let lines: Vec<View> = lines(event, words).into_iter().map(Line::view).collect();
            let mark = mark(&event.kind);
            context! { mark, headline => headline.view(), lines, source => (), when => () }
        }
        Note::Said(remark) => said(remark, voice),
        Note::Test(test) => {
            let headline = Line { text: words.test_of(&test.sender), url: test.url.clone() };
            let lines = test.text.iter().flat_map(|text| text.lines());
            let lines: Vec<View> = lines.map(plain).collect();
            let source = test.source.as_deref().map(shown::name);
            context! { mark => "🧪", headline => headline.view(), lines, source, when => () }
        }
        Note::NatsAnswer => {
            let headline = Line { text: words.answer_of_nats().to_owned(), url: None };
            let lines: Vec<View> = Vec::new();
            let mark = NOTICE_MARK.to_string();
            context! { mark, headline => headline.view(), lines, source => (), when => () }
        }
    }
}

/// Shows an event in the words of its sender.
fn said(remark: &Remark, voice: &Voice) -> View {
    let (colon, gap) = (voice.words.colon(), voice.words.gap());
    let headline = Line { text: remark.headline.clone(), url: remark.url.clone() };
    let rows = remark.rows.iter().map(|(name, value)| format!("{name}{colon}{gap}{value}"));
    let lines = remark.lines.iter().flat_map(|text| text.lines().map(str::to_owned));
    let lines: Vec<View> = lines.chain(rows).map(|line| plain(&line)).collect();
    let source = remark.source.as_deref().map(shown::name);
    let when = remark.time.as_deref().map(|time| voice.moment(time));
    let mark = if remark.is_urgent { "🔔" } else { "ℹ️" };
    context! { mark, headline => headline.view(), lines, source, when }
}

fn plain(text: &str) -> View {
    Line { text: text.to_owned(), url: None }.view()
}

impl Line {
    fn view(self) -> View {
        context! { text => shown::line(&self.text), url => self.url.as_deref().map(shown::line) }
    }
}

/// Returns the symbol that shows at a glance what kind of event it is.
fn mark(kind: &ForgeEventKind) -> &'static str {
    match kind {
        ForgeEventKind::Pushed { .. } => "🔨",
        ForgeEventKind::Did { deed, thing, .. } => match (deed, thing) {
            (
                Deed::Commented
                | Deed::ToComment(_)
                | Deed::Approved
                | Deed::AskedForChanges
                | Deed::Reviewed,
                _,
            ) => "💬",
            (_, Thing::Branch | Thing::Tag | Thing::Reference) => "🌿",
            (_, Thing::PullRequest) => "🔀",
            (_, Thing::Issue) => "🎫",
            (_, Thing::Release) => "🚀",
            (_, Thing::WikiPage) => "📝",
            (_, Thing::Package) => "🎁",
        },
        ForgeEventKind::Repository { .. } => "📁",
        ForgeEventKind::Forked { .. } => "🍴",
        ForgeEventKind::Run { outcome: Outcome::Succeeded, .. } => "✔️",
        ForgeEventKind::Run { .. } | ForgeEventKind::Job { .. } => "⚙️",
    }
}

/// Returns the line that says who did what.
fn headline(event: &ForgeEvent, words: &dyn Words) -> String {
    let repository = event.repository.as_deref().unwrap_or(words.a_repository());
    let actor = event.actor.as_deref().unwrap_or(words.somebody());
    match &event.kind {
        ForgeEventKind::Pushed {
            reference: Reference { name, .. },
            push: Push::Commits { count, .. },
        } => words.pushed(actor, *count, repository, name),
        ForgeEventKind::Pushed { reference: Reference { thing, name }, push: Push::Bare(deed) } => {
            words.did(actor, deed, &words.thing(*thing, name, repository))
        }
        ForgeEventKind::Did { deed, thing, name, title, .. } => {
            let did = words.did(actor, deed, &words.thing(*thing, name, repository));
            match title {
                Some(title) => did + words.colon() + words.gap() + title.as_str(),
                None => did,
            }
        }
        ForgeEventKind::Repository { deed } => words.did(actor, deed, repository),
        ForgeEventKind::Forked { original } => words.forked(actor, original, repository),
        ForgeEventKind::Run { workflow, reference, outcome, .. } => {
            words.workflow(workflow, repository, outcome, reference)
        }
        ForgeEventKind::Job { job, branch, outcome } => words.job(job, repository, branch, outcome),
    }
}

/// Returns the lines with details.
fn lines(event: &ForgeEvent, words: &dyn Words) -> Vec<Line> {
    match &event.kind {
        ForgeEventKind::Pushed { push: Push::Commits { told, count }, .. } => {
            let mut lines: Vec<Line> = told.iter().take(MOST_COMMITS).map(commit).collect();
            if *count > lines.len() {
                let text = words.more_commits(count - lines.len());
                lines.push(Line { text, url: None });
            }
            lines
        }
        ForgeEventKind::Did { comment: Some(comment), .. } => {
            let text = shown::line(comment);
            vec![Line { text: format!("“{}”", excerpt(&text)), url: None }]
        }
        ForgeEventKind::Run { title: Some(title), .. } => {
            vec![Line { text: title.clone(), url: None }]
        }
        _ => Vec::new(),
    }
}

fn commit(Commit { id, subject, author, url }: &Commit) -> Line {
    let author = author.as_ref().map(|author| format!(" ({author})")).unwrap_or_default();
    Line { text: format!("{id} {}{author}", excerpt(subject)), url: url.clone() }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        config::{Display, Language},
        message::{Decoded, Payload},
    };

    /// Reads a message as its sender documents it: `src/samples/webhooks/README.md`.
    fn fixture(name: &str) -> Value {
        let path = format!("{}/src/samples/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Returns a copy of a message with another value at a JSON pointer.
    fn with(value: &Value, pointer: &str, other: Value) -> Value {
        let mut value = value.clone();
        *value.pointer_mut(pointer).expect(pointer) = other;
        value
    }

    #[track_caller]
    fn event(value: &Value) -> ForgeEvent {
        let decoded = Decoded::from_bytes(value.to_string().as_bytes());
        assert_eq!(decoded.flaw, None, "{value}");
        match decoded.payload {
            Payload::Note(Note::Forge(event)) => event,
            other => panic!("not an event of a forge: {other:?}"),
        }
    }

    #[test]
    fn an_answer_of_nats_is_told_in_our_words_alone() {
        let shown = view(&Note::NatsAnswer, &Voice::of(&Display::default()));
        assert_eq!(shown.get_attr("mark").unwrap().to_string(), "🤖");
        let headline = shown.get_attr("headline").unwrap().get_attr("text").unwrap().to_string();
        assert!(headline.starts_with("nats-matrix: an answer of NATS"), "{headline}");
    }

    fn says(event: &ForgeEvent) -> String {
        headline(event, Language::English.words())
    }

    #[test]
    fn what_happens_in_a_repository_is_told_in_a_line() {
        for (name, headline) in [
            ("forgejo-push", "alice pushed 3 commits to ops/infra main"),
            ("forgejo-issue", "alice opened issue #12 of ops/infra: Disk of db-01 is too small"),
            (
                "forgejo-comment",
                "alice commented on issue #12 of ops/infra: Disk of db-01 is too small",
            ),
            (
                "forgejo-pull-request",
                "alice merged pull request #13 of ops/infra: Move db-01 to the new disk",
            ),
            ("forgejo-release", "alice published release v1.4.0 of ops/infra: Larger disks"),
        ] {
            let event = event(&fixture(name));
            assert_eq!(says(&event), headline);
            let url = event.url.unwrap();
            assert!(url.starts_with("https://git.example.com/ops/infra/"), "{url}");
        }
    }

    #[test]
    fn a_push_tells_of_branches_tags_and_many_commits() {
        let push = fixture("forgejo-push");
        let zero = json!("0".repeat(40));
        let says = |value: &Value| says(&event(value));
        let empty = with(&push, "/commits", json!([]));
        let empty = with(&empty, "/total_commits", json!(0));
        assert_eq!(says(&empty), "alice moved branch main of ops/infra");
        assert_eq!(
            says(&with(&empty, "/before", zero.clone())),
            "alice made branch main of ops/infra"
        );
        let gone = with(&empty, "/after", zero.clone());
        assert_eq!(says(&gone), "alice deleted branch main of ops/infra");
        let tag = with(&with(&empty, "/before", zero), "/ref", json!("refs/tags/v1"));
        assert_eq!(says(&tag), "alice made tag v1 of ops/infra");

        let lines = |value: &Value| -> Vec<String> {
            let words = Language::English.words();
            super::lines(&event(value), words).into_iter().map(|line| line.text).collect()
        };
        let few = lines(&push);
        assert_eq!(few[0], "bffeb74 Backups go to the new host");
        assert_eq!(few[1], "5d1c0a8 Raise the limit of the bridge (bob)");
        let many = with(&push, "/total_commits", json!(1_000));
        assert_eq!(says(&many), "alice pushed 1000 commits to ops/infra main");
        assert_eq!(lines(&many).last().unwrap(), "… and 997 more");
        let commits = vec![push["commits"][0].clone(); 1_000];
        assert_eq!(lines(&with(&many, "/commits", json!(commits))).len(), 11);
    }

    #[test]
    fn the_other_events_of_a_repository_are_told_too() {
        let push = fixture("forgejo-push");
        let told = |keys: Value| {
            let mut message = json!({ "repository": push["repository"], "sender": push["sender"] });
            message.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            says(&event(&message))
        };
        for (keys, text) in [
            (
                json!({ "ref": "x", "ref_type": "branch", "sha": "1" }),
                "alice made branch x of ops/infra",
            ),
            (
                json!({ "ref": "v1", "ref_type": "tag", "pusher_type": "user" }),
                "alice deleted tag v1 of ops/infra",
            ),
            (
                json!({ "forkee": { "full_name": "base/infra" } }),
                "alice forked base/infra to ops/infra",
            ),
            (
                json!({ "action": "edited", "page": "Home" }),
                "alice edited wiki page Home of ops/infra",
            ),
            (
                json!({ "action": "created", "package": { "name": "p", "version": "1.0" } }),
                "alice created package p 1.0 of ops/infra",
            ),
            (json!({ "action": "deleted", "organization": null }), "alice deleted ops/infra"),
            (
                json!({ "action": "reviewed", "pull_request": { "number": 3, "title": "t" },
                        "review": { "type": "pull_request_review_rejected", "content": "no" } }),
                "alice asked for changes of pull request #3 of ops/infra: t",
            ),
            (
                json!({ "action": "label_updated", "issue": { "number": 3, "title": "t" } }),
                "alice changed the labels of issue #3 of ops/infra: t",
            ),
            (
                json!({ "action": "completed", "workflow_job": { "name": "build", "head_branch": "main", "conclusion": "failure" } }),
                "Job build of ops/infra (main): failure",
            ),
        ] {
            assert_eq!(told(keys), text);
        }
    }

    #[test]
    fn runs_of_which_nobody_has_to_be_told_are_notes() {
        let run = fixture("forgejo-run-failure");
        let succeeded = "Workflow check.yml of ops/infra succeeded (main)";
        assert_eq!(says(&event(&with(&run, "/action", json!("success")))), succeeded);
        let gitea = fixture("gitea-workflow-run");
        assert_eq!(
            says(&event(&with(&gitea, "/workflow_run/conclusion", json!("success")))),
            succeeded
        );
        let running = with(&gitea, "/workflow_run/conclusion", Value::Null);
        let running = with(&running, "/action", json!("in_progress"));
        assert_eq!(says(&event(&running)), "Workflow check.yml of ops/infra in progress (main)");
        // This event does not name its repository.
        let nameless =
            with(&with(&run, "/action", json!("success")), "/run/repository", Value::Null);
        assert_eq!(says(&event(&nameless)), "Workflow check.yml of a repository succeeded (main)");
    }
}
