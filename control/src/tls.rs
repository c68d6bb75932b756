//! TLS for CETP: both ends authenticated, and a peer's identity is its certificate's subject CN (cetp.md, Transport).
//!
//! rustls would want a subject alternative name, which these certificates lack. So the chain is checked as ever (dates,
//! signatures, usage), and then the CN is read; who it must be is the transport's question, since an initiator knows and a
//! responder learns it.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use webpki::{EndEntityCert, KeyUsage};

/// Longest CES id, as longest domain name (RFC 1035 §2.3.4), with its trailing dot.
const CES_ID_BYTES: usize = 255;
/// Plain text that one connection may hold back until TLS has taken it, in bytes: a frame of the longest kind and some.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong and what was expected.
        message: String,
    },
}

fn wrong(path: &Path, message: impl Into<String>) -> TlsError {
    TlsError::File { path: path.display().to_string(), message: message.into() }
}

/// Why a certificate names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It does not parse.
    #[error("no X.509 certificate")]
    Malformed,
    /// It has none or several.
    #[error("not exactly one subject CN")]
    Count,
    /// It is no CES id.
    #[error("the subject CN is no CES id: a domain name with its trailing dot was expected")]
    NotCesId,
}

/// The subject CN of a certificate: the CES id of its owner.
pub fn common_name(certificate: &[u8]) -> Result<Arc<str>, SubjectError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| SubjectError::Malformed)?;
    let mut names = parsed.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return Err(SubjectError::Count) };
    let name = name.as_str().map_err(|_| SubjectError::NotCesId)?;
    let labels = name.strip_suffix('.').ok_or(SubjectError::NotCesId)?;
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > CES_ID_BYTES || !labels.split('.').all(label_fits) {
        return Err(SubjectError::NotCesId);
    }
    Ok(name.to_ascii_lowercase().into())
}

/// When a certificate expires, in seconds since 1970 (RFC 5280 §4.1.2.5).
fn expiry(certificate: &[u8]) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// Checks a peer's chain of certificates, at either end of a connection.
#[derive(Debug)]
struct Verifier {
    anchors: Vec<TrustAnchor<'static>>,
    subjects: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The CN of the certificate that was refused last, for the line that says so.
    refused: Mutex<Option<Arc<str>>>,
}

impl Verifier {
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let result = EndEntityCert::try_from(leaf).and_then(|certificate| {
            certificate
                .verify_for_usage(self.algorithms.all, &self.anchors, between, now, usage, None, None)
                .map(drop)
        });
        let name = common_name(leaf);
        if let Err(error) = result {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = name.ok();
            return Err(refused(error));
        }
        name.map(drop).map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// What webpki says, in rustls' words, so that the peer gets the right alert.
fn refused(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    rustls::Error::InvalidCertificate(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    })
}

/// What both traits of rustls ask for in the same words: whose signatures are taken, and whether one is right.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.chain(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.chain(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// Our certificate and whom we trust, ready for connections of both directions.
#[derive(Clone, Debug)]
pub struct Credentials {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    /// When the first certificate of our chain expires, in seconds since 1970.
    expires_s: i64,
}

impl Credentials {
    /// Reads the files. Our own certificate must name `ces_id`, belong to the key, and be signed by one of the authorities:
    /// better said at the start than by every peer.
    pub fn load(ca: &Path, cert: &Path, key: &Path, ces_id: &str) -> Result<Self, TlsError> {
        let authorities = certificates(ca)?;
        let chain = certificates(cert)?;
        let key_der = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong(key, format!("a private key in PEM was expected: {error}")))?;
        Self::new(&authorities, chain, key_der, ces_id).map_err(|(which, message)| {
            wrong(
                match which {
                    Which::Authorities => ca,
                    Which::Certificate => cert,
                    Which::Key => key,
                },
                message,
            )
        })
    }

    fn new(
        authorities: &[CertificateDer<'static>],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ces_id: &str,
    ) -> Result<Self, (Which, String)> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|error| (Which::Authorities, format!("no certificate of an authority: {error}")))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Verifier {
            subjects: roots.subjects(),
            anchors: roots.roots.clone(),
            algorithms: provider.signature_verification_algorithms,
            refused: Mutex::default(),
        });
        let leaf = chain.first().ok_or((Which::Certificate, "holds no certificate".to_owned()))?;
        let name = common_name(leaf).map_err(|error| (Which::Certificate, error.to_string()))?;
        if name.as_ref() != ces_id {
            return Err((
                Which::Certificate,
                format!("names \"{name}\"; our CES id \"{ces_id}\" was expected"),
            ));
        }
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            verifier.chain(leaf, &chain[1..], UnixTime::now(), usage).map_err(|error| {
                (Which::Certificate, format!("peers will not take it: {}", complaint(&error)))
            })?;
        }
        let expires_s = chain.iter().filter_map(|certificate| expiry(certificate)).min().unwrap_or(i64::MAX);
        let versions: &[&rustls::SupportedProtocolVersion] =
            &[&rustls::version::TLS13, &rustls::version::TLS12];
        let unfit = |error: rustls::Error| (Which::Key, format!("does not fit the certificate: {error}"));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(unfit)?;
        // cetp.md: no SNI. And no resumption: connections are few and long, and each should check certificates anew.
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(unfit)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(chain, key)
            .map_err(unfit)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), verifier, expires_s })
    }

    /// When peers will no longer take our certificate, in seconds since 1970: when the first of its chain expires.
    pub const fn expires_s(&self) -> i64 {
        self.expires_s
    }

    /// Whom the certificate named that was refused last. It is said once.
    pub fn take_refused(&self) -> Option<Arc<str>> {
        self.verifier.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The TLS of a connection that we open.
    pub fn connect(&self) -> Result<rustls::Connection, rustls::Error> {
        // The name is neither sent nor compared: who answers is known by its CN.
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        let mut connection = ClientConnection::new(Arc::clone(&self.client), name)?;
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        Ok(rustls::Connection::Client(connection))
    }

    /// The TLS of a connection that we accepted.
    pub fn accept(&self) -> Result<rustls::Connection, rustls::Error> {
        let mut connection = ServerConnection::new(Arc::clone(&self.server))?;
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        Ok(rustls::Connection::Server(connection))
    }
}

/// What is wrong with a certificate, and what was expected.
pub fn complaint(error: &rustls::Error) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        E::Expired => "it has expired".to_owned(),
        E::NotValidYet => "it is not valid yet".to_owned(),
        E::UnknownIssuer => "none of the authorities in \"ca\" has signed it".to_owned(),
        E::BadSignature => "its signature is not that of the authority it names".to_owned(),
        E::InvalidPurpose => {
            "its extended key usage must name both serverAuth and clientAuth, or nothing".to_owned()
        }
        E::Other(other) => format!("{other} (X.509 version 3 was expected)"),
        other => other.to_string(),
    }
}

enum Which {
    Authorities,
    Certificate,
    Key,
}

/// Who is at the other end, once the handshake is over.
pub fn peer(connection: &rustls::Connection) -> Result<Arc<str>, SubjectError> {
    let chain = connection.peer_certificates().unwrap_or_default();
    common_name(chain.first().ok_or(SubjectError::Malformed)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(path, format!("certificates in PEM were expected: {error}")))?;
    if all.is_empty() {
        return Err(wrong(path, "holds no certificate in PEM"));
    }
    Ok(all)
}
