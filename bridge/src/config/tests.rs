use std::{collections::HashMap, path::PathBuf};

use secrecy::ExposeSecret;

use super::*;

const MINIMAL: &str = r##"
[nats]
servers = ["tls://nats.example.com:4222"]
nkey_seed_file = "bridge.nk"

[matrix]
homeserver = "http://127.0.0.1:6167"
user = "bridge"
password_file = "matrix-password"
state_dir = "/var/lib/nats-matrix"

[[routes]]
name = "reports"
stream = "OPS"
subjects = ["ops.report.>"]
room = "#ops:chat.example.com"
"##;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Failure> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load_with(&file, &variables)
}

#[test]
fn a_route_may_be_read_in_another_language_and_time_zone() {
    let text = MINIMAL.replace(
        "[[routes]]",
        "[display]\ntime_zone = \"Europe/Berlin\"\n\n[[routes]]\nlanguage = \"zh\"\ntemplates = \"templates\"",
    );
    let route = load(&text, &[]).unwrap().routes.remove(0);
    let templates = route.templates.unwrap();
    assert!(templates.is_absolute() && templates.ends_with("templates"), "beside the file");
    let display = route.display;
    assert_eq!(display.language, Language::Chinese);
    assert_eq!(display.time_zone.iana_name(), Some("Europe/Berlin"));
    let wrong = load(&text.replace("Europe/Berlin", "Europe/Bern"), &[]).unwrap_err().to_string();
    assert!(wrong.contains("display.time_zone: \"Europe/Bern\" is not a time zone"), "{wrong}");
    let wrong = load(&text.replace("zh", "klingon"), &[]).unwrap_err().to_string();
    assert!(wrong.contains("klingon"), "{wrong}");
}

#[test]
fn a_route_names_no_subjects_of_dead_letters() {
    let with = |subjects: &str, dead_letters: &str| {
        let text = MINIMAL
            .replace("\"ops.report.>\"", subjects)
            .replace("[matrix]", &format!("{dead_letters}\n[matrix]"));
        load(&text, &[]).map(drop).map_err(|failure| failure.to_string())
    };
    for (subjects, dead_letters, words) in [
        (
            "\"ops.>\"",
            "dead_letter_subject = \"ops.dead\"",
            "\"ops.>\" also matches \"ops.dead.>\"",
        ),
        ("\"ops.*.*\"", "dead_letter_subject = \"ops.dead\"", "nats.dead_letter_subject"),
        ("\"a\", \"nats-matrix.>\"", "", "also matches \"nats-matrix.dead-letter.>\""),
        ("\"nats-matrix.dead-letter.other\"", "", "routes[0].subjects"),
        ("\"*.x\", \"nats-matrix.*.reports\"", "", "\"nats-matrix.*.reports\" also matches"),
    ] {
        let wrong = with(subjects, dead_letters).unwrap_err();
        assert!(wrong.contains(words), "{wrong}");
    }
    for (subjects, dead_letters) in [
        ("\"ops.report.>\"", "dead_letter_subject = \"ops.dead\""),
        ("\"nats-matrix.*\"", ""),
        // All that a stream has.
        ("\">\"", ""),
        ("\"*.dead-letter.reports\"", ""),
        ("\"*.dead.>\"", "dead_letter_subject = \"ops.dead\""),
    ] {
        assert_eq!(with(subjects, dead_letters), Ok(()));
    }
}

#[test]
fn a_summary_says_when() {
    let with = |summary: &str| load(&format!("{MINIMAL}summary = {summary}\n"), &[]);
    let summary = |text: &str| with(text).unwrap().routes.remove(0).summary.unwrap();
    assert_eq!(summary("{ every = \"day\" }"), Summary::DAILY);
    let weekly = summary("{ every = \"week\", on = \"friday\", at = \"17:30\" }");
    assert_eq!(weekly.every, Every::Week(jiff::civil::Weekday::Friday));
    assert_eq!(weekly.at, jiff::civil::time(17, 30, 0, 0));
    let monday = Every::Week(jiff::civil::Weekday::Monday);
    assert_eq!(summary("{ every = \"week\" }").every, monday);
    for (wrong, said) in [
        (
            "{ every = \"day\", at = \"25:00\" }",
            "routes[0].summary.at: \"25:00\" is not a time of day",
        ),
        ("{ every = \"day\", at = \"8 am\" }", "write one like \"08:00\""),
        ("{ every = \"day\", on = \"monday\" }", "routes[0].summary.on: a daily summary"),
        ("{ every = \"week\", on = \"Montag\" }", "write one like \"monday\""),
        ("{ every = \"hour\" }", "hour"),
        ("{ every = \"day\", hour = 8 }", "hour"),
    ] {
        let failure = with(wrong).unwrap_err().to_string();
        assert!(failure.contains(said), "{failure}");
    }
}

#[test]
fn the_minimal_configuration_means_what_is_documented() {
    let config = load(MINIMAL, &[]).unwrap();
    assert!(config.nats.servers[0].tls_required());
    assert!(matches!(config.nats.auth, Auth::Nkey(Secret::File { .. })));
    assert_eq!(config.nats.dead_letter_subject.as_str(), "nats-matrix.dead-letter");
    assert!(matches!(&config.matrix.login, Login::Password { user, .. } if user == "bridge"));
    let route = &config.routes[0];
    assert_eq!((route.name.as_str(), route.start), ("reports", Start::All));
    assert_eq!(route.rooms.to_string(), "#ops:chat.example.com");
}

#[test]
fn what_is_held_back_is_no_stream_of_a_route() {
    let held = MINIMAL.replace("stream = \"OPS\"", "stream = \"NATS_MATRIX_HELD\"");
    let failure = load(&held, &[]).unwrap_err().to_string();
    assert!(failure.contains("routes[0].stream: is reserved for the messages"), "{failure}");
}

#[test]
fn what_is_for_many_rooms_is_refused_where_there_is_one() {
    let many = MINIMAL.replace("room = \"", "room = \"#x-{subject.2}:chat.example.com\" # ");
    let route = |text: &str| load(text, &[]).map(|mut config| config.routes.remove(0));
    let plain = route(&many).unwrap();
    assert_eq!((plain.new_rooms_per_hour, plain.fallback_room), (20, None));
    let lines = "fallback_room = \"!f:x\"\nnew_rooms_per_hour = 0\nroom_creators = [\"@a:x\"]\n";
    let full = route(&(many.clone() + lines)).unwrap();
    assert_eq!(full.fallback_room.unwrap().as_str(), "!f:x");
    assert_eq!((full.new_rooms_per_hour, full.room_creators[0].as_str()), (0, "@a:x"));
    for line in lines.lines() {
        let wrong = load(&format!("{MINIMAL}{line}\n"), &[]).unwrap_err().to_string();
        let key = line.split(' ').next().unwrap();
        assert!(
            wrong.contains(&format!("routes[0].{key}: is for a `room` with a token")),
            "{wrong}"
        );
    }
    for (line, said) in [
        ("fallback_room = \"ops\"", "routes[0].fallback_room: \"ops\" is neither #alias:server"),
        ("fallback_room = \"#{subject.2}:x\"", "has to be one room"),
        ("room_creators = [\"alice\"]", "routes[0].room_creators: \"alice\" is not @user:server"),
        ("new_rooms_per_hour = -1", "new_rooms_per_hour"),
        ("falback_room = \"!f:x\"", "did you mean \"fallback_room\"?"),
        ("alert_scope = \"subjects\"", "routes[0].alert_scope: \"subjects\" is not one of"),
        ("alert_scope = \"subject.0\"", "is not one of"),
        ("alert_scop = \"route\"", "did you mean \"alert_scope\"?"),
    ] {
        let wrong = load(&format!("{many}{line}\n"), &[]).unwrap_err().to_string();
        assert!(wrong.contains(said), "{line}: {wrong}");
    }
}

#[test]
fn a_number_in_a_variable_is_still_text() {
    for text in ["00123", "1e5", "True"] {
        let config = load(MINIMAL, &[("NATS_MATRIX__MATRIX__USER", text)]).unwrap();
        assert!(matches!(config.matrix.login, Login::Password { user, .. } if user == text));
    }
}

#[test]
fn a_list_in_a_variable_is_split_at_commas() {
    let config = load(MINIMAL, &[("NATS_MATRIX__NATS__SERVERS", "nats://a:1,nats://b:2")]).unwrap();
    let hosts: Vec<&str> = config.nats.servers.iter().map(async_nats::ServerAddr::host).collect();
    assert_eq!(hosts, ["a", "b"]);
}

#[test]
fn variables_of_another_form_are_not_ours() {
    load(MINIMAL, &[("NATS_MATRIX_LOG", "debug"), ("NATS_MATRIX_BIN", "x")]).unwrap();
}

#[test]
fn no_secret_is_in_what_is_shown_of_a_configuration() {
    let inline = MINIMAL
        .replace("nkey_seed_file = \"bridge.nk\"", "user = \"u\"\npassword = \"hunter-nats\"")
        .replace("password_file = \"matrix-password\"", "password = \"hunter-matrix\"");
    let config = load(&inline, &[]).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("nats.example.com") && !shown.contains("hunter"), "{shown}");
    for (text, said) in [
        (inline.replace("hunter-nats\"", "hunter-nats"), "not valid TOML at column "),
        (inline.replace("\"hunter-matrix\"", "[\"hunter-matrix\"]"), "matrix.password: is "),
        (inline.replace("\"hunter-matrix\"", "{ a = \"hunter-matrix\" }"), "matrix.password: is "),
        (inline.replace("4222", "99999"), "nats.servers: \"tls://nats.example.com:99999\" is not"),
        (
            inline.replace("tls://nats", "tls://u:hunter-url@nats"),
            "write user and password, or token,",
        ),
        (inline.replace("http://127", "http://u:hunter-url@127"), "has a user or a password in it"),
        (inline.replace("http://127", "http://u:hunter-url@ 127"), "is not a URL"),
        (inline.replace("password", "pasword"), "did you mean \"password\"?"),
    ] {
        let wrong = load(&text, &[]).unwrap_err().to_string();
        assert!(wrong.contains(said) && !wrong.contains("hunter"), "{said}: {wrong}");
    }
}

#[test]
fn the_level_of_the_log_is_one_of_five() {
    assert_eq!(load(MINIMAL, &[]).unwrap().log.level, Level::Info);
    let debug = format!("{MINIMAL}\n[log]\nlevel = \"debug\"");
    assert_eq!(load(&debug, &[]).unwrap().log.level, Level::Debug);
    let variable = [("NATS_MATRIX__LOG__LEVEL", "error")];
    assert_eq!(load(&debug, &variable).unwrap().log.level, Level::Error);
    let failure = load(&debug.replace("debug", "loud"), &[]).unwrap_err().to_string();
    let said = "log.level: \"loud\" is not one of error, warn, info, debug, trace";
    assert!(failure.ends_with(said), "{failure}");
}

#[test]
fn what_is_of_another_kind_is_named_as_in_toml() {
    for (line, said) in [
        ("digest_above = -1", "digest_above: is the number `-1`, but must be a whole number"),
        ("quiet = \"22:00-07:00\"", "quiet: is a string, but must be a table"),
        ("summary = \"day\"", "summary: is a string, but must be a table"),
        ("summary = { every = \"year\" }", "every: \"year\" is not one of day, week"),
        ("start = \"now\"", "start: \"now\" is not one of all, new"),
        ("language = \"de\"", "language: \"de\" is not one of en, zh"),
        ("mention = 1", "mention: "),
        ("digest_above = \"hunter2\"", "digest_above: is a string, but must be a whole number"),
    ] {
        let wrong = load(&format!("{MINIMAL}\n{line}"), &[]).unwrap_err().to_string();
        assert!(wrong.contains(said) && !wrong.contains("struct"), "{said}: {wrong}");
    }
}

#[test]
fn a_secret_that_is_under_the_wrong_key_is_not_repeated() {
    for name in ["NATS", "MATRIX", "LOG", "MATRIX__STATE_DIR__X", "NATS__SERVERS__X", "ROUTES"] {
        for value in ["hunter2", "31337", "true"] {
            let variable = format!("NATS_MATRIX__{name}");
            let Err(wrong) = load(MINIMAL, &[(&variable, value)]) else { continue };
            let wrong = wrong.to_string();
            assert!(!wrong.contains(value) || value == "true", "{wrong}");
        }
    }
    let wrong = load(MINIMAL, &[("NATS_MATRIX__NATS", "hunter2")]).unwrap_err().to_string();
    let said = "environment variable NATS_MATRIX__NATS: is a string, but must be a table";
    assert!(wrong.starts_with(said), "{wrong}");
}

#[test]
fn a_connection_is_another_one_when_a_file_of_it_has_changed_or_moved() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, password) = (file("ca.pem", "a"), file("password", "b"));
    let text = |password: &str| {
        let ours = format!("ca_file = \"{ca}\"\nuser = \"u\"\npassword_file = \"{password}\"");
        MINIMAL.replace("nkey_seed_file = \"bridge.nk\"", &ours)
    };
    let of = |password: &str| load(&text(password), &[]).unwrap().nats.fingerprint();
    let first = of(&password).unwrap();
    assert_eq!(of(&password).unwrap(), first);
    assert_ne!(of(&file("other", "b")).unwrap(), first);
    file("ca.pem", "c");
    let second = of(&password).unwrap();
    assert_ne!(second, first);
    file("password", "d");
    assert_ne!(of(&password).unwrap(), second);
    assert!(of("/none").unwrap_err().to_string().contains("nats.password_file: cannot read"));
}

#[test]
fn a_secret_file_may_end_with_one_line_end() {
    let directory = tempfile::tempdir().unwrap();
    for (written, read) in [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), (" s \n\n", " s \n")] {
        let path = directory.path().join("secret");
        std::fs::write(&path, written).unwrap();
        let secret = Secret::File { key: "k".to_owned(), path };
        assert_eq!(secret.read().unwrap().expose_secret(), read, "{written:?}");
    }
    let path = directory.path().join("empty");
    std::fs::write(&path, "\n").unwrap();
    let failure = Secret::File { key: "x.y_file".to_owned(), path }.read().unwrap_err();
    assert!(failure.to_string().contains("x.y_file") && failure.to_string().contains("is empty"));
}

#[test]
fn a_secret_is_not_shown_by_debug() {
    let text = MINIMAL.replace("password_file = \"matrix-password\"", "password = \"hunter2\"");
    let config = load(&text, &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let text = MINIMAL.replace("tls://nats.example.com:4222", "nats://bridge:pa#ss@host:x");
    let failure = load(&text, &[]).unwrap_err().to_string();
    assert!(failure.contains("host:x") && !failure.contains("pa#ss"), "{failure}");
}

#[test]
fn a_file_of_systemd_comes_before_one_beside_the_configuration() {
    let (credentials, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = Files::in_directories(Some(credentials.path()), beside.path());
    let name = Path::new("bridge.nk");
    assert_eq!(files.find(name), beside.path().join(name));
    // The content that a unit sets for a credential whose file is missing.
    std::fs::write(credentials.path().join(name), "\n").unwrap();
    assert_eq!(files.find(name), beside.path().join(name));
    std::fs::write(credentials.path().join(name), "SU...\n").unwrap();
    assert_eq!(files.find(name), credentials.path().join(name));
    assert_eq!(files.find(Path::new("/abs")), Path::new("/abs"));
}

#[test]
fn a_file_in_a_directory_is_found_under_the_name_that_systemd_gives_it() {
    let (credentials, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = Files::in_directories(Some(credentials.path()), beside.path());
    let name = Path::new("secrets/matrix-password");
    assert_eq!(files.find(name), beside.path().join(name));
    let handed_over = credentials.path().join("secrets_matrix-password");
    std::fs::write(&handed_over, "a secret").unwrap();
    assert_eq!(files.find(name), handed_over);
    assert_eq!(files.find(&beside.path().join(name)), handed_over, "the same, written out");
}

const DECLARED: &str = r#"
[provision]
conduit = "conduit.toml"
[users.alice]
admin = true
[users."b.c_d"]
password_file = "secrets/b"
[rooms.ops]
invite = ["alice", "@zoe:elsewhere.example"]
post = "bridge"
"#;

#[test]
fn what_is_declared_means_what_is_documented() {
    let text = MINIMAL.replace("password_file = \"matrix-password\"\n", "") + DECLARED;
    let config = load(&text, &[]).unwrap();
    let declared = &config.provision;
    let Some(Means::Conduit { program, .. }) = &declared.means else { panic!("{declared:?}") };
    assert_eq!(program, Path::new("conduit"));
    let state = Path::new("/var/lib/nats-matrix-provision");
    assert_eq!(declared.users[0].password_file, state.join("passwords/alice"));
    assert!(declared.users[0].admin && !declared.users[1].admin);
    assert!(declared.users[1].password_file.ends_with("secrets/b"));
    let room = &declared.rooms[0];
    assert_eq!((&room.name, room.post, room.adopt), (&None, Some(Post::Bridge), false));
    assert_eq!(room.invite[0], Person::Declared("alice".to_owned()));
    assert!(
        matches!(&room.invite[1], Person::Other(id) if id.as_str() == "@zoe:elsewhere.example")
    );
    let Login::Password { password: Secret::File { path, .. }, .. } = &config.matrix.login else {
        panic!("{:?}", config.matrix.login)
    };
    assert_eq!(*path, state.join("bridge-password"), "made, as none is given");
    let given = load(&(MINIMAL.to_owned() + DECLARED), &[]).unwrap().matrix.login;
    assert!(
        matches!(given, Login::Password { password: Secret::File { path, .. }, .. } if path.ends_with("matrix-password"))
    );
}

#[test]
fn what_cannot_be_declared_is_refused_by_name() {
    for (change, to, said) in [
        ("[users.alice]", "[users.Alice]", "users.\"Alice\": cannot be the name of an account"),
        ("[users.alice]", "[users.\"../x\"]", "users.\"../x\": cannot be the name of an account"),
        ("[users.alice]", "[users.\"a/b\"]", "users.\"a/b\": cannot be the name of an account"),
        ("[users.alice]", "[users.\"-x\"]", "users.\"-x\": cannot be the name of an account"),
        ("[users.alice]", "[users.conduit]", "users.conduit: is the account of Conduit itself"),
        ("[users.alice]", "[users.bridge]\n[users.alice]", "users.bridge: is matrix.user"),
        ("\"alice\", ", "\"bob\", ", "rooms.ops.invite: \"bob\" is neither one of [users]"),
        ("[rooms.ops]", "[rooms.\"#ops:x\"]", "rooms.\"#ops:x\": is the alias of a room without #"),
        ("post = \"bridge\"", "post = \"nobody\"", "nobody"),
        ("admin = true", "admn = true", "admn"),
        ("conduit = \"conduit.toml\"", "", "users.alice: there is no way to create accounts"),
        (
            "conduit = \"conduit.toml\"",
            "conduit_program = \"x\"",
            "provision.conduit_program: needs conduit",
        ),
        (
            "conduit = \"conduit.toml\"",
            "conduit = \"conduit.toml\"\nregistration_secret_file = \"x\"",
            "provision: give either conduit or registration_secret_file",
        ),
    ] {
        let text = MINIMAL.to_owned() + DECLARED.replace(change, to).as_str();
        let failure = load(&text, &[]).unwrap_err().to_string();
        assert!(failure.contains(said), "{to}: {failure}");
    }
}

#[test]
fn a_made_password_that_is_not_there_yet_is_the_one_that_will_be() {
    let (credentials, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = Files::in_directories(Some(credentials.path()), beside.path());
    let made = PathBuf::from("/var/lib/x");
    assert_eq!(files.made("bridge-password", made.clone()), made);
    let credential = credentials.path().join("bridge-password");
    std::fs::write(&credential, "\n").unwrap();
    assert_eq!(files.made("bridge-password", made.clone()), made);
    std::fs::write(&credential, "s\n").unwrap();
    assert_eq!(files.made("bridge-password", made), credential);
}

#[test]
fn inboxes_are_nobody_elses() {
    let with = |prefix: &str| {
        let line = format!("[nats]\ninbox_prefix = \"{prefix}\"");
        load(&MINIMAL.replacen("[nats]", &line, 1), &[])
    };
    assert_eq!(load(MINIMAL, &[]).unwrap().nats.inbox_prefix.as_str(), "_INBOX_nats-matrix");
    assert_eq!(with("_INBOX.a").unwrap().nats.inbox_prefix.as_str(), "_INBOX.a");
    for (prefix, words) in [
        ("_INBOX.>", "nats.inbox_prefix: \"_INBOX.>\" has wildcards"),
        ("_INBOX.", "nats.inbox_prefix: \"_INBOX.\" is not a subject: it is empty"),
        ("$JS.API", "nats.inbox_prefix: \"$JS.API\" is reserved for NATS"),
    ] {
        let wrong = with(prefix).unwrap_err().to_string();
        assert!(wrong.contains(words), "{wrong}");
    }
    let publisher = |host: &str| {
        let variables = [
            ("NATS_MATRIX__NATS__SERVERS".to_owned(), "nats://a:1".to_owned()),
            ("NATS_MATRIX__PUBLISH__HOST".to_owned(), host.to_owned()),
        ];
        let publisher = Publisher::parse("", Path::new("none"), &variables.into()).unwrap();
        publisher.nats.inbox_prefix.to_string()
    };
    assert_eq!(publisher("db-01"), "_INBOX_nats-matrix-publish.db-01");
    assert_eq!(publisher("db.example.com"), "_INBOX_nats-matrix-publish.db-example-com");
    // A connection is replaced when its inbox prefix changes.
    let text = MINIMAL.replace("nkey_seed_file = \"bridge.nk\"\n", "");
    let fingerprint =
        |variables: &[(&str, &str)]| load(&text, variables).unwrap().nats.fingerprint().unwrap();
    let other = [("NATS_MATRIX__NATS__INBOX_PREFIX", "_INBOX")];
    assert_ne!(fingerprint(&[]), fingerprint(&other));
}
