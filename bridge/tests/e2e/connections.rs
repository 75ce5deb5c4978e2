//! Every way to connect to NATS: TLS with a private CA, mutual TLS, nkey, credentials file, user and
//! password, token; and what is said when it is refused.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_nats::ConnectOptions;
use data_encoding::BASE64URL_NOPAD;
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind, Nats, secrets};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::scene::{Config, PATIENCE, Scene, read_all, read_numbered, shared_homeserver};

/// A private CA and what it signed, as PEM.
pub(crate) struct Pki {
    pub(crate) ca: String,
    pub(crate) server: (String, String),
    client: (String, String),
}

impl Pki {
    /// The CA's certificate has no keyUsage extension: Python 3.13 and later refuse such a CA, and many private CAs
    /// are like
    /// that.
    pub(crate) fn without_key_usage() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert!(params.key_usages.is_empty());
        let ca = CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?;
        let sign = |name: &str, usage| -> Result<(String, String)> {
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.extended_key_usages = vec![usage];
            let key = rcgen::KeyPair::generate()?;
            Ok((params.signed_by(&key, &ca)?.pem(), key.serialize_pem()))
        };
        Ok(Self {
            server: sign("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)?,
            client: sign("bridge", ExtendedKeyUsagePurpose::ClientAuth)?,
            ca: ca.pem(),
        })
    }

    /// A NATS server with this certificate.
    async fn nats(&self, tls: &str, more: &str) -> Result<Nats> {
        let certificates = tempfile::tempdir()?.keep();
        for (name, pem) in
            [("ca.pem", &self.ca), ("client.pem", &self.client.0), ("client.key", &self.client.1)]
        {
            std::fs::write(certificates.join(name), pem)?;
        }
        Nats::builder()
            .file("server.pem", self.server.0.clone())
            .file("server.key", self.server.1.clone())
            .file("ca.pem", self.ca.clone())
            .config(&format!(
                "tls {{ cert_file: \"server.pem\", key_file: \"server.key\", {tls} }}\n{more}"
            ))
            .client_options(move || {
                ConnectOptions::new()
                    .require_tls(true)
                    .add_root_certificates(certificates.join("ca.pem"))
                    .add_client_certificate(
                        certificates.join("client.pem"),
                        certificates.join("client.key"),
                    )
            })
            .start()
            .await
    }
}

async fn scene(nats: Nats) -> Result<Scene> {
    Scene::with(shared_homeserver().await?, nats).await
}

pub(crate) fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::write(directory.join(name), text).context("writing a file of the configuration")
}

/// Publishes a message and sees that the bridge, so configured, posts it.
async fn arrives(scene: &Scene, config: &Config) -> Result<()> {
    let bridge = scene.start(config)?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 1).await.with_context(|| bridge.logs())?;
    assert_eq!(events[0].said(), "hello");
    Ok(())
}

pub(crate) fn over_tls(scene: &Scene) -> Config {
    let mut config = scene.config();
    config.nats = config.nats.replace("nats://", "tls://");
    config
}

#[tokio::test]
async fn tls_with_a_private_ca_without_key_usage_and_an_nkey() -> Result<()> {
    let pki = Pki::without_key_usage()?;
    let user = KeyPair::new_user();
    let admin = KeyPair::new_user();
    let (seed, admin_seed) = (user.seed()?, admin.seed()?);
    let users = format!(
        "authorization {{ users: [ {{ nkey: {} }}, {{ nkey: {} }} ] }}",
        user.public_key(),
        admin.public_key()
    );
    let certificates = tempfile::tempdir()?;
    write(certificates.path(), "ca.pem", &pki.ca)?;
    let ca = certificates.path().join("ca.pem");
    let nats = Nats::builder()
        .file("server.pem", pki.server.0.clone())
        .file("server.key", pki.server.1.clone())
        .config(&format!("tls {{ cert_file: \"server.pem\", key_file: \"server.key\" }}\n{users}"))
        .client_options(move || {
            ConnectOptions::with_nkey(admin_seed.clone())
                .require_tls(true)
                .add_root_certificates(ca.clone())
        })
        .start()
        .await?;
    let scene = scene(nats).await?;
    // Relative names are looked for beside the configuration.
    write(scene.dir.path(), "ca.pem", &pki.ca)?;
    write(scene.dir.path(), "bridge.nk", &format!("{seed}\n"))?;
    let config = over_tls(&scene).nats("ca_file = \"ca.pem\"\nnkey_seed_file = \"bridge.nk\"");
    arrives(&scene, &config).await
}

#[tokio::test]
async fn mutual_tls() -> Result<()> {
    let pki = Pki::without_key_usage()?;
    let scene = scene(pki.nats("ca_file: \"ca.pem\", verify: true", "").await?).await?;
    write(scene.dir.path(), "ca.pem", &pki.ca)?;
    write(scene.dir.path(), "bridge.pem", &pki.client.0)?;
    write(scene.dir.path(), "bridge.key", &pki.client.1)?;
    let config = over_tls(&scene)
        .nats("ca_file = \"ca.pem\"\ncert_file = \"bridge.pem\"\nkey_file = \"bridge.key\"");
    arrives(&scene, &config).await?;

    let without = over_tls(&scene).nats("ca_file = \"ca.pem\"");
    let output = scene.run(&without, &["check"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("client certificate, or wants one: check nats.cert_file"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_named() -> Result<()> {
    let (pki, other) = (Pki::without_key_usage()?, Pki::without_key_usage()?);
    let scene = scene(pki.nats("", "").await?).await?;
    write(scene.dir.path(), "ca.pem", &other.ca)?;
    let config = over_tls(&scene).nats("ca_file = \"ca.pem\"");
    let output = scene.run(&config, &["check"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("signed by none of our CAs: set nats.ca_file"), "{text}");

    // A certificate can be renewed on the server, so `run` waits.
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("signed by none of our CAs", PATIENCE).await?;
    assert!(bridge.is_running()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_and_a_server_without_tls_are_named_for_nats_and_the_homeserver() -> Result<()>
{
    let pki = Pki::without_key_usage()?;
    let with_tls = scene(pki.nats("", "").await?).await?;
    let plain = scene(Nats::start().await?).await?;
    let found = |scene: &Scene, nats: &str, homeserver: &str| -> Result<String> {
        write(scene.dir.path(), "ca.pem", &pki.ca)?;
        let mut config = Config::new(nats, homeserver, &scene.bot).nats("ca_file = \"ca.pem\"");
        config.matrix.push_str("ca_file = \"ca.pem\"\n");
        config = config.route("reports", "ops.>", &scene.room);
        let output = tokio::task::block_in_place(|| scene.run(&config, &["check"]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(69), "{text}");
        Ok(text)
    };
    let line = |text: &str, step: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("FAIL  {step}")));
        lines.next().map(str::to_owned).with_context(|| text.to_owned())
    };

    // The certificates are for 127.0.0.1.
    let port = tls_front(&pki, &with_tls.bot.homeserver).await?;
    let nats = with_tls.nats.url().replace("nats://127.0.0.1", "tls://localhost");
    let text = found(&with_tls, &nats, &format!("https://localhost:{port}"))?;
    for (step, key) in [("nats", "nats.servers"), ("homeserver", "matrix.homeserver")] {
        let line = line(&text, step)?;
        assert!(line.contains("for another name: write a name of the certificate in"), "{line}");
        assert!(line.contains(key), "{line}");
    }

    let nats = plain.nats.url().replace("nats://", "tls://");
    // Some homeservers do not answer a TLS greeting at all. A NATS server answers like a homeserver without TLS that does.
    let homeserver = plain.nats.url().replace("nats://", "https://");
    let text = found(&plain, &nats, &homeserver)?;
    for (step, key) in [("nats", "nats.servers"), ("homeserver", "matrix.homeserver")] {
        let line = line(&text, step)?;
        assert!(line.contains("answers without TLS: correct the port or the scheme in"), "{line}");
        assert!(line.contains(key), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn user_and_password_from_a_file_of_systemd() -> Result<()> {
    let nats = Nats::builder()
        .config("authorization { user: bridge, password: \"top secret\" }")
        .client_options(|| {
            ConnectOptions::with_user_and_password("bridge".into(), "top secret".into())
        })
        .start()
        .await?;
    let scene = scene(nats).await?;
    let credentials = tempfile::tempdir()?;
    write(credentials.path(), "nats-password", "top secret\n")?;
    let config = scene.config().nats("user = \"bridge\"\npassword_file = \"nats-password\"");
    let path = scene.dir.path().join("bridge.toml");
    std::fs::write(&path, config.toml())?;
    let mut command = std::process::Command::new(crate::scene::BINARY);
    command.args(["run", "--config"]).arg(&path).env("CREDENTIALS_DIRECTORY", credentials.path());
    command.current_dir(scene.dir.path());
    let _bridge = BridgeProcess::spawn_command(&command, scene.dir.path())?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");
    Ok(())
}

#[tokio::test]
async fn the_loudest_log_has_no_secret_either() -> Result<()> {
    let nats = Nats::builder()
        .config("authorization { user: bridge, password: \"loud and secret\" }")
        .client_options(|| {
            ConnectOptions::with_user_and_password("bridge".into(), "loud and secret".into())
        })
        .start()
        .await?;
    let scene = scene(nats).await?;
    let path = scene.dir.path().join("bridge.toml");
    let config = scene.config().nats("user = \"bridge\"\npassword = \"loud and secret\"");
    std::fs::write(&path, config.toml())?;
    let mut command = std::process::Command::new(crate::scene::BINARY);
    command.args(["run", "--config"]).arg(&path).env("NATS_MATRIX_LOG", "trace");
    command.current_dir(scene.dir.path());
    for text in ["logged in anew", "with the session that was kept"] {
        let mut bridge = BridgeProcess::spawn_command(&command, scene.dir.path())?;
        scene.nats.publish("ops.x", text).await?;
        bridge.wait_for_log(" TRACE ", PATIENCE).await?;
        let mut reader = scene.reader().await?;
        // The process ends here, and its log is searched then.
        reader.wait_until(|events| events.iter().any(|it| it.said() == text), PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_and_a_wrong_one() -> Result<()> {
    let nats = Nats::builder()
        .config("authorization { token: \"open sesame\" }")
        .client_options(|| ConnectOptions::with_token("open sesame".into()))
        .start()
        .await?;
    let scene = scene(nats).await?;
    let wrong = scene.config().nats("token = \"open barley\"");
    let mut bridge = scene.start(&wrong)?;
    assert_eq!(bridge.wait(PATIENCE).await?, 77);
    let log = bridge.logs();
    assert!(log.contains("refuses our credentials"), "{log}");
    assert!(!log.contains("open barley"), "a secret is in the log: {log}");
    arrives(&scene, &scene.config().nats("token = \"open sesame\"")).await
}

/// A token as NATS signs them.
fn jwt(
    issuer: &KeyPair,
    subject: &str,
    name: &str,
    nats: &Value,
    expires: Option<u64>,
) -> Result<String> {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let mut claims = json!({ "jti": name, "iat": 1, "iss": issuer.public_key(), "sub": subject });
    claims["name"] = json!(name);
    claims["nats"] = nats.clone();
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let text = format!("{}.{}", encode(&header), encode(&claims));
    let signature = issuer.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", BASE64URL_NOPAD.encode(&signature)))
}

/// The text of a credentials file for a user of `account`, valid until `expires` (seconds since 1970).
fn credentials(account: &KeyPair, expires: Option<u64>) -> Result<String> {
    let user = KeyPair::new_user();
    let mut claims = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    claims["type"] = json!("user");
    claims["version"] = json!(2);
    let token = jwt(account, &user.public_key(), "bridge", &claims, expires)?;
    Ok(format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed()?
    ))
}

/// A NATS server that takes the users of one account, which it knows by an operator's signature.
async fn nats_with_operator(account: &KeyPair) -> Result<Nats> {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let claims = json!({ "type": "operator", "version": 2 });
    let operator_jwt = jwt(&operator, &operator.public_key(), "op", &claims, None)?;
    let limits = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1,
        "wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1
    });
    let claims = json!({ "limits": limits, "type": "account", "version": 2 });
    let account_jwt = jwt(&operator, &account.public_key(), "team", &claims, None)?;
    // JetStream does not start without a system account.
    let claims = json!({ "type": "account", "version": 2 });
    let system_jwt = jwt(&operator, &system.public_key(), "system", &claims, None)?;
    let (team, system) = (account.public_key(), system.public_key());
    let ours = credentials(account, None)?;
    Nats::builder()
        .config(&format!(
            "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {team}: {account_jwt}, {system}: {system_jwt} }}"
        ))
        .client_options(move || ConnectOptions::with_credentials(&ours).unwrap())
        .start()
        .await
}

#[tokio::test]
async fn a_credentials_file() -> Result<()> {
    let account = KeyPair::new_account();
    let scene = scene(nats_with_operator(&account).await?).await?;
    write(scene.dir.path(), "bridge.creds", &credentials(&account, None)?)?;
    arrives(&scene, &scene.config().nats("credentials_file = \"bridge.creds\"")).await
}

#[tokio::test]
async fn credentials_that_expire_while_it_runs_are_waited_for() -> Result<()> {
    let account = KeyPair::new_account();
    let scene = scene(nats_with_operator(&account).await?).await?;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    write(scene.dir.path(), "bridge.creds", &credentials(&account, Some(now + 15))?)?;
    let config = scene.config().nats("credentials_file = \"bridge.creds\"");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    bridge.wait_for_log("NATS no longer accepts our credentials", PATIENCE).await?;
    write(scene.dir.path(), "bridge.creds", &credentials(&account, None)?)?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    let has_it =
        |events: &[nats_matrix_testbed::Event]| events.iter().any(|event| event.said() == "hello");
    reader.wait_until(has_it, PATIENCE).await.with_context(|| bridge.logs())?;
    Ok(())
}

/// The permissions that the NATS user needs without the dead letters, as docs/src/reference/nats-permissions.md says,
/// for a route that names its [`CONSUMER`].
pub(crate) const NEEDED: [&str; 6] = [
    "$JS.API.STREAM.INFO.OPS",
    "$JS.API.STREAM.MSG.GET.OPS",
    "$JS.API.CONSUMER.INFO.OPS.reports",
    "$JS.API.CONSUMER.CREATE.OPS.reports.>",
    "$JS.API.CONSUMER.MSG.NEXT.OPS.reports",
    "$JS.ACK.OPS.reports.>",
];

/// The line by which a route names its consumer.
pub(crate) const CONSUMER: &str = "consumer = \"reports\"";

/// The permissions for what the bridge keeps of conversations, and of how far its routes are.
pub(crate) const KEPT: [&str; 5] = [
    "$KV.nats-matrix-alerts.>",
    "$JS.API.STREAM.INFO.KV_nats-matrix-alerts",
    "$JS.API.STREAM.CREATE.KV_nats-matrix-alerts",
    "$JS.API.STREAM.UPDATE.KV_nats-matrix-alerts",
    "$JS.API.DIRECT.GET.KV_nats-matrix-alerts.>",
];

/// The permissions for dead letters, whose stream the bridge makes.
pub(crate) const DEAD: [&str; 4] = [
    "nats-matrix.dead-letter.>",
    "$JS.API.STREAM.INFO.NATS_MATRIX_DEAD_LETTERS",
    "$JS.API.STREAM.CREATE.NATS_MATRIX_DEAD_LETTERS",
    "$JS.API.STREAM.UPDATE.NATS_MATRIX_DEAD_LETTERS",
];

/// The permissions that digests and summaries need besides, and a stream that has lost messages.
pub(crate) const WANTED: [&str; 9] = [
    "$JS.API.CONSUMER.LIST.OPS",
    "$JS.API.CONSUMER.DELETE.OPS.reports",
    "$JS.API.CONSUMER.CREATE.OPS",
    "$JS.API.CONSUMER.MSG.NEXT.OPS.*",
    "$JS.API.CONSUMER.INFO.OPS.*",
    "$JS.API.CONSUMER.CREATE.OPS.reports:summary.>",
    "$JS.API.CONSUMER.MSG.NEXT.OPS.reports:summary",
    "$JS.API.CONSUMER.INFO.OPS.reports:summary",
    "$JS.API.CONSUMER.DELETE.OPS.reports:summary",
];

/// The lines by which the bridge logs in to [`restricted`]. No secret of less than 8 characters is looked for in what
/// it prints.
pub(crate) const LOGIN: &str = "user = \"bridge\"\npassword = \"only-the-bridge-knows\"";

/// The configuration of a server where the bridge, which logs in with [`LOGIN`], may publish on these subjects only.
pub(crate) fn permissions(publish: &[&str]) -> String {
    let bridge = json!({ "publish": publish, "subscribe": ["_INBOX_nats-matrix.>"] });
    format!(
        "authorization {{ users: [\
           {{ user: admin, password: a }}, \
           {{ user: bridge, password: only-the-bridge-knows, permissions: {bridge} }} ] }}"
    )
}

/// A scene where the bridge, which logs in with [`LOGIN`], may publish on these subjects only.
pub(crate) async fn restricted(publish: &[&str]) -> Result<Scene> {
    let nats = Nats::builder()
        .config(&permissions(publish))
        .as_process()
        .client_options(|| ConnectOptions::with_user_and_password("admin".into(), "a".into()))
        .start()
        .await?;
    scene(nats).await
}

#[tokio::test]
async fn the_documented_permissions_suffice() -> Result<()> {
    let scene = restricted(&[&NEEDED[..], &KEPT].concat()).await?;
    let config = scene.config().nats(LOGIN).lines(CONSUMER);
    arrives(&scene, &config).await?;
    // Also what was outstanding when it was killed is taken back.
    scene.publish_numbered(1, 50).await?;
    let mut reader = scene.reader().await?;
    let bridge = scene.start(&config)?;
    reader.wait_for(10, PATIENCE).await?;
    bridge.kill();
    let bridge = scene.start(&config)?;
    reader.wait_for(51, PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(!bridge.logs().contains("ermissions"), "{}", bridge.logs());
    let limited = "a second bridge with the same routes is noticed only while it reads";
    assert!(!bridge.logs().contains(limited), "{}", bridge.logs());
    Ok(())
}

/// Without the permission to read the bucket, a claim could not be looked at.
#[tokio::test]
async fn a_part_of_the_permissions_for_the_bucket_holds_nothing_up() -> Result<()> {
    let some =
        ["$KV.nats-matrix-alerts.>", "$JS.API.INFO", "$JS.API.STREAM.*.KV_nats-matrix-alerts"];
    let scene = restricted(&[&NEEDED[..], &some].concat()).await?;
    let config = scene.config().nats(LOGIN).lines(CONSUMER);
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&config)?;
    scene.shows_numbered(3).await.with_context(|| bridge.logs())?;
    let limited = "a second bridge with the same routes is noticed only while it reads";
    assert!(bridge.logs().contains(limited), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_dead_letters() -> Result<()> {
    let scene = restricted(&[&NEEDED[..], &KEPT, &DEAD].concat()).await?;
    let (proxy, config) = scene.through_proxy().await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "M_BAD_JSON: no" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    scene.publish_numbered(1, 2).await?;
    let bridge = scene.start(&config.nats(LOGIN).lines(CONSUMER))?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await.with_context(|| bridge.logs())?;
    let line = events[0].body();
    assert!(line.contains("message 1") && line.contains("400 M_BAD_JSON no."), "{line}");
    assert_eq!(events[1].said(), "message 2");
    assert!(!bridge.logs().contains("ermissions"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn without_the_permission_for_digests_messages_come_one_by_one() -> Result<()> {
    let scene = restricted(&NEEDED).await?;
    let config = scene.config().digests(20).nats(LOGIN).lines(CONSUMER);
    scene.publish_numbered(1, 30).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    read_numbered(&mut reader, 30).await?;
    let logs = bridge.logs();
    let line = logs.lines().find(|line| line.contains("no digest, as what waits cannot be read"));
    // The line ends with the cause.
    assert!(line.is_some_and(|line| line.contains("was not made: ")), "{logs}");
    Ok(())
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_digests_and_conversations() -> Result<()> {
    let scene = restricted(&[&NEEDED[..], &KEPT, &WANTED].concat()).await?;
    let config = scene.config().digests(20).nats(LOGIN).lines(CONSUMER);
    let alert = |status: &str| json!({ "severity": "warning", "summary": "s", "status": status });
    scene.nats.publish_many("ops.alert", vec![alert("firing").to_string(); 30]).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await?;
    scene.nats.publish("ops.alert", alert("resolved").to_string()).await?;
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(events[2].content["m.relates_to"]["event_id"], events[0].event_id.as_str());
    let bucket = scene.nats.jetstream().await?.get_key_value("nats-matrix-alerts").await?;
    assert!(bucket.status().await?.values() > 0);
    assert!(!bridge.logs().contains("WARN"), "{}", bridge.logs());
    Ok(())
}

/// A server behind TLS, on a port of its own: what comes in is passed on to `upstream`.
pub(crate) async fn tls_front(pki: &Pki, upstream: &str) -> Result<u16> {
    use tokio_rustls::rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };
    let (certificate, key) = &pki.server;
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let upstream = upstream.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                // A client that does not trust us ends its connection here.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_with_a_certificate_of_a_private_ca() -> Result<()> {
    let pki = Pki::without_key_usage()?;
    let scene = scene(Nats::start().await?).await?;
    let port = tls_front(&pki, &scene.bot.homeserver).await?;
    write(scene.dir.path(), "ca.pem", &pki.ca)?;
    let url = format!("https://127.0.0.1:{port}");
    let mut config = Config::new(&scene.nats.url(), &url, &scene.bot);
    config = config.route("reports", "ops.>", &scene.room);
    let output = tokio::task::block_in_place(|| scene.run(&config, &["check"]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("set matrix.ca_file"), "{text}");
    config.matrix.push_str("ca_file = \"ca.pem\"\n");
    arrives(&scene, &config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_ca_certificates_needs_them_for_https_only() -> Result<()> {
    let scene = scene(Nats::start().await?).await?;
    let findings = |homeserver: &str| -> Result<(bool, String)> {
        let config = Config::new(&scene.nats.url(), homeserver, &scene.bot);
        let path = scene.dir.path().join("bridge.toml");
        std::fs::write(&path, config.route("reports", "ops.>", &scene.room).toml())?;
        let mut command = std::process::Command::new(crate::scene::BINARY);
        command.args(["check", "--config"]).arg(&path);
        command.envs([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")]);
        let output = secrets::output(&mut command)?;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    };
    let (well, text) = findings(&scene.bot.homeserver)?;
    assert!(well, "{text}");
    let (well, text) = findings("https://127.0.0.1:9")?;
    assert!(!well && text.contains("Install the system's CA certificates"), "{text}");
    Ok(())
}

/// Somebody between the bridge and a server with TLS: whoever they name in what the server says before TLS begins is
/// not
/// asked, and hears nothing.
struct Between {
    port: u16,
    /// The number of connections that the bridge has made here.
    connections: Arc<AtomicUsize>,
    /// Whether connections are passed on. What was passed on is cut when this becomes false.
    is_open: watch::Sender<bool>,
}

impl Between {
    async fn start(upstream: u16, named: &[String]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let between = Self {
            port: listener.local_addr()?.port(),
            connections: Arc::default(),
            is_open: watch::Sender::new(true),
        };
        let (connections, named) = (Arc::clone(&between.connections), json!(named));
        let mut is_open = between.is_open.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                if *is_open.borrow_and_update() {
                    let (named, mut is_open) = (named.clone(), is_open.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = pass_on(client, upstream, named) => {}
                            _ = is_open.changed() => {}
                        }
                    });
                }
            }
        });
        Ok(between)
    }
}

/// Passes a connection on to a server, which says that these are of its cluster.
async fn pass_on(mut client: TcpStream, upstream: u16, named: Value) -> Result<()> {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", upstream)).await?);
    let mut line = String::new();
    server.read_line(&mut line).await?;
    let mut info: Value = serde_json::from_str(line.trim_start_matches("INFO"))?;
    info["connect_urls"] = named;
    client.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Something that looks like a NATS server without TLS, and what it hears.
async fn thief() -> Result<(u16, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (port, heard) = (listener.local_addr()?.port(), Arc::<Mutex<Vec<String>>>::default());
    let note = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let info = json!({
                "server_id": "A", "server_name": "a", "version": "2.11.0", "go": "", "host": "0.0.0.0", "port": 4222,
                "headers": true, "auth_required": true, "max_payload": 1_048_576, "proto": 1, "client_id": 1,
            });
            let mut said = vec![0; 4096];
            let _ = client.write_all(format!("INFO {info}\r\n").as_bytes()).await;
            let length = client.read(&mut said).await.unwrap_or_default();
            note.lock().unwrap().push(String::from_utf8_lossy(&said[..length]).into_owned());
        }
    });
    Ok((port, heard))
}

#[tokio::test]
async fn nobody_in_between_sends_the_bridge_elsewhere_with_its_token() -> Result<()> {
    let pki = Pki::without_key_usage()?;
    let directory = tempfile::tempdir()?;
    write(directory.path(), "ca.pem", &pki.ca)?;
    let ca = directory.path().join("ca.pem");
    let nats = Nats::builder()
        .file("server.pem", pki.server.0.clone())
        .file("server.key", pki.server.1.clone())
        .config("tls { cert_file: \"server.pem\", key_file: \"server.key\" }")
        .config("authorization { token: \"only-the-bridge-knows\" }")
        .client_options(move || {
            ConnectOptions::with_token("only-the-bridge-knows".into())
                .require_tls(true)
                .add_root_certificates(ca.clone())
        })
        .start();
    let scene = scene(nats.await?).await?;
    write(scene.dir.path(), "ca.pem", &pki.ca)?;
    let (thief, heard) = thief().await?;
    // The client takes a WebSocket for a connection that needs no TLS of its own.
    let named = ["", "nats://", "ws://"].map(|scheme| format!("{scheme}127.0.0.1:{thief}"));
    for scheme in ["tls", "nats"] {
        let between = Between::start(scene.nats.port(), &named).await?;
        let mut config = scene.config();
        config.nats = config
            .nats
            .replace(&scene.nats.url(), &format!("{scheme}://127.0.0.1:{}", between.port));
        let config = config.nats("token = \"only-the-bridge-knows\"\nca_file = \"ca.pem\"");
        let mut bridge = scene.start(&config)?;
        bridge.wait_for_log("posting into", PATIENCE).await?;
        // The client tries each address that it knows before it tries one again.
        let before = between.connections.load(Ordering::SeqCst);
        between.is_open.send_replace(false);
        let tried = async {
            while between.connections.load(Ordering::SeqCst) < before + 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, tried).await.with_context(|| bridge.logs())?;
        assert_eq!(heard.lock().unwrap().as_slice(), [""; 0]);
        between.is_open.send_replace(true);
        bridge.wait_for_log("connected again", PATIENCE).await?;
    }
    Ok(())
}
