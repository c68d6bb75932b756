//! Certificates for two gateways that trust one authority, made for the run.

use ces_control::tls::Credentials;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::path::PathBuf;

/// An authority, in a directory that goes with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "benchmark");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let pem = params.self_signed(&key).map_err(|error| error.to_string())?.pem();
        let directory = std::env::temp_dir().join(format!("ces-negotiate-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let authority = Self { issuer: Issuer::new(params, key), directory };
        authority.write("ca.pem", &pem)?;
        Ok(authority)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Credentials of a gateway.
    pub fn credentials(&self, ces_id: &str) -> Result<Credentials, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, ces_id);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| error.to_string())?;
        let certificate = self.write("cert.pem", &certificate.pem())?;
        let key = self.write("key.pem", &key.serialize_pem())?;
        Credentials::load(&self.directory.join("ca.pem"), &certificate, &key, ces_id)
            .map_err(|error| error.to_string())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
