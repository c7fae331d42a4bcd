//! Keys and certificates of a run's API server: made new each time, worth nothing to anybody else.

use std::net::IpAddr;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// PEM texts for an API server.
#[derive(Debug)]
pub struct Material {
    /// Certificate of the authority that signed the server's.
    pub ca: String,
    /// The server's certificate.
    pub cert: String,
    /// The server's key.
    pub key: String,
    /// Key that signs service account tokens.
    pub service_account_key: String,
    /// Its public half, with which they are verified.
    pub service_account_public_key: String,
}

/// Makes an authority, and a server certificate that is good for these addresses and for `localhost`.
pub fn make(addresses: &[IpAddr]) -> Result<Material> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "contiv-e2e");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let mut server = CertificateParams::new(names.map(str::to_owned).to_vec())?;
    server
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    server
        .subject_alt_names
        .extend(addresses.iter().copied().map(SanType::IpAddress));
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cert = server.signed_by(&key, &issuer)?;

    let service_account = KeyPair::generate()?;
    Ok(Material {
        ca: ca_cert.pem(),
        cert: cert.pem(),
        key: key.serialize_pem(),
        service_account_key: service_account.serialize_pem(),
        service_account_public_key: service_account.public_key_pem(),
    })
}
