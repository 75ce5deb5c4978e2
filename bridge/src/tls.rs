//! The reasons why a TLS connection is not made, recognised by the types of the errors that carry them. The texts of
//! errors are for people and change with each release of a library.

use std::{error::Error, io};

use async_nats::rustls::{self, AlertDescription, CertificateError, InvalidMessage};

/// The configuration keys of a connection, which the advice about it names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// The key of the server's address.
    pub(crate) address: &'static str,
    /// The key of the CA that the server's certificate is checked with.
    pub(crate) ca: &'static str,
    /// The keys of our own certificate, if the connection can have one.
    pub(crate) certificate: Option<&'static str>,
}

/// The reason why a TLS connection is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server's certificate is signed by no CA that is trusted here, or by another one of the same name.
    UnknownIssuer,
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet.
    NotValidYet,
    /// The server's certificate is for another name.
    WrongName,
    /// The server's certificate was revoked.
    Revoked,
    /// The server answers with something other than TLS.
    NotTls,
    /// The server does not accept our certificate, or requires one.
    OurCertificate,
}

impl Cause {
    /// Finds the reason in an error or in its causes.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            // The source of an `io::Error` is that of the error in it, and not that error itself.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(cause) = inner.and_then(|inner| Self::of(inner)) {
                return Some(cause);
            }
            next = error.source();
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => Some(Self::NotTls),
            rustls::Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate,
            ) => Some(Self::OurCertificate),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Option<Self> {
        match error {
            // The signature is bad if another CA has the same name as the trusted one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Some(Self::UnknownIssuer)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some(Self::Expired)
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some(Self::NotValidYet)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(Self::WrongName)
            }
            CertificateError::Revoked => Some(Self::Revoked),
            _ => None,
        }
    }

    /// Says what the server does, and what to do about it, in words that follow the name of the server. Returns `None`
    /// if no key of the connection can mend it.
    pub(crate) fn advice(self, keys: Keys) -> Option<String> {
        let Keys { address, ca, certificate } = keys;
        Some(match self {
            Self::UnknownIssuer => format!(
                "shows a certificate that is signed by none of our CAs: set {ca} to the CA that signed it"
            ),
            Self::Expired => "shows a certificate that has expired: renew it on the server, or correct the clock of \
                              this machine"
                .to_owned(),
            Self::NotValidYet => "shows a certificate that is not valid yet: correct the clock of this machine, or \
                                  that of the one that made it"
                .to_owned(),
            Self::WrongName => format!(
                "shows a certificate that is for another name: write a name of the certificate in {address}, or have \
                 this one added to it"
            ),
            Self::Revoked => {
                "shows a certificate that was revoked: give the server a new one".to_owned()
            }
            Self::NotTls => format!(
                "answers without TLS: correct the port or the scheme in {address}, or turn TLS on at the server"
            ),
            Self::OurCertificate => {
                let certificate = certificate?;
                format!("does not accept the client certificate, or wants one: check {certificate}")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_nats::rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
        server::WebPkiClientVerifier,
        time_provider::TimeProvider,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const NATS: Keys = Keys { address: "nats.servers", ca: "nats.ca_file", certificate: Some("c") };

    /// The times, in seconds since 1970, between which the certificates are valid.
    const VALID: std::ops::Range<u64> = 1_767_225_600..1_798_761_600;

    struct Ca(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

    impl Ca {
        fn new() -> Self {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
        }

        fn roots(&self) -> RootCertStore {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            roots
        }

        fn sign(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
            let certificate = params.signed_by(&key, &self.0).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            (vec![certificate.der().clone()], key)
        }
    }

    /// A clock that stands still.
    #[derive(Debug)]
    struct At(u64);

    impl TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0)))
        }
    }

    fn client(roots: RootCertStore, at: u64) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(At(at)));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    }

    fn server(
        own: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
        clients: Option<RootCertStore>,
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            ),
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(own.0, own.1).unwrap()
    }

    /// Connects as "nats.example.com", and reads once, as TLS 1.3 reports some errors only then.
    async fn error(client: ClientConfig, server: ServerConfig) -> io::Error {
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(async move {
            if let Ok(mut stream) = TlsAcceptor::from(Arc::new(server)).accept(far).await {
                let _ = stream.write_all(b"INFO").await;
                let _ = stream.read_u8().await;
            }
        });
        let name = ServerName::try_from("nats.example.com").unwrap();
        match TlsConnector::from(Arc::new(client)).connect(name, near).await {
            Ok(mut stream) => stream.read_u8().await.unwrap_err(),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn each_cause_is_found_in_what_a_real_handshake_reports() {
        let (ca, other) = (Ca::new(), Ca::new());
        let now = VALID.start + 1;
        let cause = async |client, server| Cause::of(&error(client, server).await);
        let good = || server(ca.sign("nats.example.com"), None);
        for (at, expected) in
            [(VALID.end + 1, Cause::Expired), (VALID.start - 1, Cause::NotValidYet)]
        {
            assert_eq!(cause(client(ca.roots(), at), good()).await, Some(expected));
        }
        let unknown = cause(client(RootCertStore::empty(), now), good()).await;
        assert_eq!(unknown, Some(Cause::UnknownIssuer));
        // Both CAs have the same name.
        let unknown = cause(client(other.roots(), now), good()).await;
        assert_eq!(unknown, Some(Cause::UnknownIssuer));
        let elsewhere = server(ca.sign("chat.example.com"), None);
        assert_eq!(cause(client(ca.roots(), now), elsewhere).await, Some(Cause::WrongName));
        let mutual = server(ca.sign("nats.example.com"), Some(ca.roots()));
        assert_eq!(cause(client(ca.roots(), now), mutual).await, Some(Cause::OurCertificate));
    }

    #[tokio::test]
    async fn a_server_without_tls_is_recognised() {
        let (near, mut far) = duplex(1024);
        far.write_all(b"-ERR 'Unknown Protocol Operation'\r\n").await.unwrap();
        let client = client(RootCertStore::empty(), VALID.start);
        let name = ServerName::try_from("nats.example.com").unwrap();
        let connected = TlsConnector::from(Arc::new(client)).connect(name, near).await;
        let cause = Cause::of(&connected.unwrap_err());
        assert_eq!(cause, Some(Cause::NotTls));
        assert!(cause.unwrap().advice(NATS).unwrap().contains("nats.servers"));
    }

    #[test]
    fn words_in_an_error_are_no_cause() {
        for error in [io::Error::other("UnknownIssuer"), io::Error::from(io::ErrorKind::TimedOut)] {
            assert_eq!(Cause::of(&error), None);
        }
        let deep = io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(
            CertificateError::Expired,
        )));
        assert_eq!(Cause::of(&deep), Some(Cause::Expired));
    }

    #[test]
    fn a_connection_without_a_client_certificate_gets_no_advice_about_one() {
        assert_eq!(Cause::OurCertificate.advice(Keys { certificate: None, ..NATS }), None);
        assert!(Cause::OurCertificate.advice(NATS).is_some());
    }
}
