//! Tables of the forms in which secrets are hidden, and of ordinary texts, which stay.

use super::hidden;

/// The secret of [`FORMS`].
pub(super) const X: &str = "Zq7Rk2Lm9Vb4Tn8";

/// Texts with the secret in place of `@@`.
pub(super) const FORMS: &[&str] = &[
    // Colours, and characters that cannot be seen.
    "\u{1b}[31mpassword\u{1b}[0m=@@",
    "pass\u{1b}[1mword\u{1b}[0m=\u{1b}[31m@@\u{1b}[0m",
    "token: \u{1b}[32m@@\u{1b}[0m",
    "pass\u{1b}]8;;\u{7}word=@@",
    "pass\u{200b}word=@@",
    "pass\u{ad}word=@@",
    "pass\0word=@@",
    r#"{"log":"\u001b[36mpassword\u001b[0m=@@"}"#,
    r#"{"pass\u0077ord":"@@"}"#,
    "password：@@",
    "password\u{a0}=\u{a0}@@",
    "ｐａｓｓｗｏｒｄ＝@@",
    // Command lines.
    r#"ExecStart=/usr/bin/restic --password "@@ two words" backup"#,
    "restic --password '@@' backup",
    r#"gh --token "@@""#,
    r#"gh --token="@@""#,
    r#"["restic","--password","@@"]"#,
    "mysql -u root -p@@ app",
    "mysqldump '-p@@' app",
    "Sensitive (user=root command=mysql -p@@)",
    "sshpass -p @@ ssh a",
    "curl -u a:@@ https://example.com",
    "curl -u 'a:@@' https://example.com",
    "redis-cli -a @@ PING",
    "openssl rsa -passin pass:@@",
    "docker run -e POSTGRES_PASSWORD=@@ x",
    // Headers.
    r#"{"Authorization":"Token @@"}"#,
    r#"{"Authorization":"ApiKey @@"}"#,
    r#"{"Authorization":"Bearer x@@"}"#,
    r#"{"headers":{"authorization":["Bearer @@"]}}"#,
    r#"{"headers":[["Authorization","Bearer @@"]]}"#,
    r#"{"name":"Authorization","value":"Bearer @@"}"#,
    "curl -H 'Authorization: token @@' http://x",
    "Authorization: Digest username=\"u\", response=\"@@\"",
    "Proxy-Authorization: Basic @@",
    "X-Api-Key: @@",
    "Cookie: session=@@; theme=dark",
    "Set-Cookie: sid=@@; Path=/",
    // The notations of languages.
    "{'password': u'@@'}",
    "{'password': b'@@'}",
    "User(password='@@')",
    r#"Config { password: Some("@@") }"#,
    r#"password = """@@""""#,
    "password = '''@@'''",
    "{User:a Password:@@}",
    ":password=>\"@@\"",
    "$password = '@@'",
    // JSON, as in attached files.
    r#"{"password":{"value":"@@"}}"#,
    r#"{"password2":"@@"}"#,
    r#"{"passwords":["@@"]}"#,
    r#"{"name":"DB_PASSWORD","value":"@@"}"#,
    r#"{"l":"{\"password\":\"@@\"}"}"#,
    "[\"-----BEGIN PRIVATE KEY-----\",\"@@\",\"-----END PRIVATE KEY-----\"]",
    "PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 1\n@@@@\nPrivate-MAC: 1",
    // Other texts.
    "password @@",
    "login failed with password @@ for bob",
    "the password is @@.",
    "machine h login u password @@",
    "password=\n@@",
    "password=\r@@",
    "password = \\\n  @@",
    "password: |\n  @@\nuser: a",
    "password:\n  - @@",
    "<password>@@</password>",
    "<ns:Password>@@</ns:Password>",
    "<password><![CDATA[@@]]></password>",
    "<a password='@@'/>",
    "user:@@@tcp(127.0.0.1:3306)/db",
    "redis://:@@@h",
    "Server=a;Uid=u;Pwd=@@;",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=@@@@==;EndpointSuffix=x",
    "secret_key_base: @@",
    "psk=@@",
    "wpa_passphrase=@@",
    "IDENTIFIED BY '@@'",
    "https://h/x?access_token=@@&y=1",
    "body password%3D@@",
    "otpauth://totp/a?secret=@@",
    "密码：@@",
    "パスワード: @@",
    "пароль: @@",
    "Mot de passe: @@",
    "contraseña: @@",
    "senha=@@",
    "pass\u{3164}word=@@",
    "pass\u{2800}word=@@",
    "<property>\n<name>db.password</name>\n<value>@@</value>\n</property>",
    "<property name=\"password\">@@</property>",
    "<dict><key>password</key><string>@@</string></dict>",
    "  ~ password             = \"old1\" -> \"@@\"",
    "password -> @@",
    "password(@@)",
    "setPassword('@@')",
    "Password:\n\n@@",
    "Please use the following password to proceed to installation:\n\n@@\n\nThis may also be found at: /var/x",
    "[Note] A temporary password is generated for root@localhost: @@",
    "The generated password for the elastic built-in user is: @@",
    "Password for bob is @@",
    "SSHPASS=@@ sshpass -e",
    "REDISCLI_AUTH=@@",
    "rootpw=@@",
    "storage_key: @@",
    "recovery_codes: @@",
    "sessionid=@@",
    "https://x.webhook.office.com/webhookb2/@@",
    "-----BEGIN OpenVPN Static key V1-----\n@@\n-----END OpenVPN Static key V1-----",
    "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\n@@@@\nPrivate-MAC: 1",
    "ERROR {\"a\":\"b\\nAuthorization: Bearer @@\"}",
    "ERROR {\"a\":\"b\\nCookie: sid=@@; b=c\"}",
    "ERROR {\"a\":\"b\\npw=@@\"}",
];

#[test]
fn secrets_are_hidden_in_every_form() {
    let mut failed = Vec::new();
    for form in FORMS {
        let text = form.replace("@@", X);
        let shown = hidden(&text);
        // Not even a part of it is shown.
        let is_shown = (0..X.len() - 3).any(|at| shown.contains(&X[at..at + 4]));
        if is_shown || !shown.contains(" hidden]") && !shown.contains('…') {
            failed.push(format!("{text:?}\n  {shown:?}"));
        }
        if hidden(&shown) != shown {
            failed.push(format!("{shown:?} is hidden again: {:?}", hidden(&shown)));
        }
    }
    for text in [
        "Authorization: Basic dTpzZWNyZXQ=",
        "authorization: basic dTpodW50ZXIy",
        "sent Basic dTpzZWNyZXQ= to a",
        "Authorization: Bearer abcdefghijklmnopqrst",
        "sent Bearer abcdefghijklmnopqrst",
        "{\"password\":1234567890}",
        "ghp_\u{1b}[0maB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xYz",
        "https://api.telegram.org/bot123456789:AAaB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xYz/send",
        "123456:AAaB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xYz",
    ] {
        if !hidden(text).contains(" hidden]") {
            failed.push(format!("{text:?}\n  {:?}", hidden(text)));
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn texts_around_a_secret_stay() {
    for (text, expected) in [
        (
            "login with password=hunter2, user=bob failed",
            "login with password=[password hidden], user=bob failed",
        ),
        ("{'password': u'x1', 'user': 'bob'}", "{'password': [password hidden], 'user': 'bob'}"),
        ("--password \"x1 y\" --verbose", "--password \"[password hidden]\" --verbose"),
        ("--token \"x1y2z3a4 two\" --verbose", "--token \"[token hidden]\" --verbose"),
        ("sshpass -p 'x1 two' ssh a", "sshpass -p '[password hidden]' ssh a"),
        ("sshpass -p'x1 two' ssh a", "sshpass -p'[password hidden]' ssh a"),
        ("[\"--token\", \"x1y2z3a4 two\"]", "[\"--token\", \"[token hidden]\"]"),
        ("{\"password\":1234567,\"n\":1}", "{\"password\":\"[password hidden]\",\"n\":1}"),
        ("a:x1@tcp(db:3306)/d", "a:[password hidden]@tcp(db:3306)/d"),
        (
            "Authorization: Basic dTpzZWNyZXQ= was sent",
            "Authorization: Basic [token hidden] was sent",
        ),
        ("mysql -pX1 app failed on db-01", "mysql -p[password hidden] app failed on db-01"),
        (
            "\u{1b}[31mpassword\u{1b}[0m=x1 \u{1b}[1mand\u{1b}[0m more",
            "password=[password hidden] and more",
        ),
    ] {
        assert_eq!(hidden(text), expected);
    }
}

#[test]
fn ordinary_texts_stay() {
    let texts = [
        "password rotation done",
        "PASS: src/login2.test.js",
        "PASS src/login2.test.js",
        "pass: 120345 of 130000",
        "secret: db-credentials-v2 not found",
        "secret db-credentials-v2 not found",
        "密码：连续输错5次",
        "密码: 错误2",
        "docker run -u www-data:www-data app",
        "password: 8-64 characters",
        "password expired for these users:\nalice2\nbob",
        "the password for user bob2 is too old",
        "password -> expired",
        "resetPassword(user) failed",
        "session id 12345678",
        "<label name=\"password\">Your password</label>",
        "<key>password</key><true/>",
        "password expired for user bob",
        "password for user bob",
        "password for user bob2 was changed on 2026-11-30",
        "Password: must be changed by user bob",
        "Enter password: ",
        "the password of db-01 is too old",
        "the password was changed by alice2",
        "with password authentication disabled",
        "with password db-01.example.com complains",
        "password db-01 expired",
        "Failed password for invalid user admin from 192.0.2.7 port 22 ssh2",
        "Access denied for user 'root'@'localhost' (using password: YES)",
        "password: rotation done",
        "password_file=/run/secrets/x password_min_length=8 password_changed_at=2026-11-30",
        "use --password or --token",
        "the option --password is deprecated",
        "token bucket full",
        "token: refresh failed for bob",
        "unexpected token '}' in JSON at position 12",
        "token db-01 is not known, token expired",
        "prompt_tokens: 12345 max_tokens=128000 tokens=40961 signature_id=9000001",
        "{\"token_id\":1234567}",
        "authorization failed for user bob",
        "Authorization: failed for user bob",
        "authorization: rbac",
        "secret santa",
        "secret \"db-creds\" not found",
        "secret k8s-prod-01 was rotated",
        "secret: webapp",
        "credentials: see the wiki",
        "api key is missing, api key not found",
        "key=value",
        "key=disk-usage-01 code=500",
        "https://grafana.example/d/abc?orgId=1&key=cpu&code=500",
        "pwd=/var/lib",
        "PWD=/var/lib/a1b2c3d4",
        "the topsky and psk31 modes",
        "psk reassociation failed",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "HEAD is now at 99a20ea6c1b1d6f0d7d8a6d6b2a2f1f6f7a9c1d2 Keep only so many",
        "request 550e8400-e29b-41d4-a716-446655440000 took 12 ms",
        "fingerprint=f2a74de452e6b438",
        "ED25519 SHA256:+Xh1bnRlcjI",
        "db-01.example.com:5432 refused, host=db-01 port=5432",
        "pulled registry.example.com:5000/app:1.2@sha256:9f86d081884c7d65",
        "basic authentication failed, Bearer authentication is required",
        "Basic HealthCheckFailed",
        "cookie: expired",
        "compass: north, bypass=yes, passed=12",
        "gpio pin=1722 went high",
        "sort --key 2, monkey=1, keyboard: none",
        "docker run -u 1000:1000 -p 8080:80 app",
        "mysql -p is asked for, mysqld is ready on port 3306",
        "/nix/store/0c4fhl2z4wy8qm5xk6b0x3h3hnc9fl1y-hello-2.12/bin/hello: not found",
        "4: nats_matrix::secrets::tests::hides at src/secrets.rs:219:9",
        "status installed python3-jwt:all 2.6.0-1",
        "{\"tokens\":4096,\"secret\":{\"name\":\"db-creds\"},\"tokenEndpoint\":\"https://a.example\"}",
        "<password></password>",
        "otp=off totp: disabled",
        "set token bucket size, set password policy",
        "ok \u{1b}[32mpassword rotation\u{1b}[0m done 👩\u{200d}🚒",
    ];
    let changed = texts.iter().filter(|text| hidden(text) != **text);
    let failed: Vec<String> =
        changed.map(|text| format!("{text:?}\n  {:?}", hidden(text))).collect();
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}
