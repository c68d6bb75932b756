//! CETP's TLS: who gets through and who does not.

use ces_control::tls::{Credentials, common_name, peer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::Connection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

fn params(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, cn);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A directory that goes when it is dropped.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ces-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load(
    trusted: &str,
    issuer: &Authority,
    params: &CertificateParams,
    ces_id: &str,
) -> Result<Credentials, String> {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer.issuer).unwrap();
    Credentials::load(
        &files.write("ca", trusted),
        &files.write("cert", &certificate.pem()),
        &files.write("key", &key.serialize_pem()),
        ces_id,
    )
    .map_err(|error| error.to_string())
}

fn good(authority: &Authority, ces_id: &str) -> Credentials {
    load(&authority.pem, authority, &params(ces_id), ces_id).unwrap()
}

/// Carries bytes between the two until neither has any more; the first error ends it.
fn shake(client: &mut Connection, server: &mut Connection) -> Result<(), rustls::Error> {
    for _ in 0..20 {
        carry(client, server)?;
        carry(server, client)?;
    }
    Ok(())
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn handshake(client: &Credentials, server: &Credentials) -> Result<(Connection, Connection), rustls::Error> {
    let (mut client, mut server) = (client.connect().unwrap(), server.accept().unwrap());
    shake(&mut client, &mut server)?;
    Ok((client, server))
}

#[test]
fn both_ends_learn_the_other_ces_id() {
    let ca = authority("CA");
    let (client, server) = handshake(&good(&ca, "gwa.demo."), &good(&ca, "gwb.demo.")).unwrap();
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(&*peer(&client).unwrap(), "gwb.demo.");
    assert_eq!(&*peer(&server).unwrap(), "gwa.demo.");
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn another_authority_is_refused_by_both_ends() {
    let (ours, other) = (authority("CA"), authority("other CA"));
    assert!(handshake(&good(&ours, "gwa.demo."), &good(&other, "gwb.demo.")).is_err());
    // An authority of the same name with another key is another one.
    let same_name = authority("CA");
    assert!(handshake(&good(&ours, "gwa.demo."), &good(&same_name, "gwb.demo.")).is_err());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    #[derive(Debug)]
    struct Anybody;
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(Anybody))
            .with_no_client_auth();
        let client =
            rustls::ClientConnection::new(std::sync::Arc::new(config), "gwb.demo".try_into().unwrap())
                .unwrap();
        let mut server = good(&authority("CA"), "gwb.demo.").accept().unwrap();
        let result = shake(&mut Connection::Client(client), &mut server);
        assert_eq!(result, Err(rustls::Error::NoCertificatesPresented));
        assert!(server.is_handshaking());
    }
}

#[test]
fn own_credentials_that_peers_would_refuse_are_refused_at_the_start() {
    let ca = authority("CA");
    let fails = |params: &CertificateParams, ces_id: &str| load(&ca.pem, &ca, params, ces_id).unwrap_err();

    let mut expired = params("gwa.demo.");
    expired.not_after = date_time_ymd(2020, 1, 1);
    assert!(fails(&expired, "gwa.demo.").contains("has expired"), "{}", fails(&expired, "gwa.demo."));

    let mut early = params("gwa.demo.");
    early.not_before = date_time_ymd(4000, 1, 1);
    assert!(fails(&early, "gwa.demo.").contains("not valid yet"), "{}", fails(&early, "gwa.demo."));

    assert!(fails(&params("gwb.demo."), "gwa.demo.").contains("our CES id \"gwa.demo.\" was expected"));
    assert!(fails(&params("gwa.demo"), "gwa.demo.").contains("trailing dot"));

    let mut one_way = params("gwa.demo.");
    one_way.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(fails(&one_way, "gwa.demo.").contains("both serverAuth and clientAuth"));

    let other = authority("other CA");
    let stranger = load(&other.pem, &ca, &params("gwa.demo."), "gwa.demo.").unwrap_err();
    assert!(stranger.contains("none of the authorities"), "{stranger}");
}

#[test]
fn an_expired_peer_is_refused() {
    // Its own check would refuse such a certificate, so it is made from raw configuration.
    let ca = authority("CA");
    let key = KeyPair::generate().unwrap();
    let mut old = params("gwa.demo.");
    old.not_after = date_time_ymd(2020, 1, 1);
    let certificate = old.signed_by(&key, &ca.issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let files = Files::new();
    let path = files.write("ca", &ca.pem);
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(path).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let server = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
    let mut client = good(&ca, "gwb.demo.").connect().unwrap();
    let result = shake(&mut client, &mut Connection::Server(server));
    assert!(
        matches!(result, Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired))),
        "{result:?}"
    );
}

#[test]
fn a_key_of_another_certificate_is_named_with_its_file() {
    let ca = authority("CA");
    let files = Files::new();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = params("gwa.demo.").signed_by(&key, &ca.issuer).unwrap();
    let (ca, cert) = (files.write("ca", &ca.pem), files.write("cert", &certificate.pem()));
    let error =
        Credentials::load(&ca, &cert, &files.write("key", &other.serialize_pem()), "gwa.demo.").unwrap_err();
    assert!(error.to_string().contains("/key: does not fit the certificate"), "{error}");
    let error = Credentials::load(&ca, &cert, &files.write("empty", ""), "gwa.demo.").unwrap_err();
    assert!(error.to_string().contains("/empty: a private key in PEM was expected"), "{error}");
    let error = Credentials::load(&ca, &files.0.join("none"), &cert, "gwa.demo.").unwrap_err();
    assert!(error.to_string().contains("/none:"), "{error}");
}

#[test]
fn the_end_of_a_certificate_is_known() {
    let ca = authority("CA");
    let mut params = params("gwa.demo.");
    params.not_after = date_time_ymd(2100, 1, 1);
    let credentials = load(&ca.pem, &ca, &params, "gwa.demo.").unwrap();
    assert_eq!(credentials.expires_s(), 4_102_444_800);
}

#[test]
fn the_common_name_is_read_in_lower_case_or_refused() {
    let ca = authority("CA");
    let name = |cn: &str| {
        let certificate = params(cn).signed_by(&KeyPair::generate().unwrap(), &ca.issuer).unwrap();
        common_name(certificate.der())
    };
    assert_eq!(&*name("GWa.Demo.").unwrap(), "gwa.demo.");
    for wrong in ["gwa.demo", ".", "", "gwa..demo.", "gw a.demo.", "*.demo.", "gwa\u{0}.demo."] {
        assert!(name(wrong).is_err(), "{wrong:?}");
    }
    assert!(common_name(b"nothing").is_err());
}
