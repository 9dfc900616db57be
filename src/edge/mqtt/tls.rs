//! Which certificates a connection with TLS trusts and shows.
//!
//! The files are read for every connection, so that rotated ones are used from the next one on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::Broker;

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authorities whose servers are believed.
    pub ca_file: PathBuf,
    /// What we show to a broker that asks for it (mTLS).
    pub client: Option<ClientCertificate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Our certificate, then those between it and its authority.
    pub cert_file: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_file: PathBuf,
}

/// A file that does not serve.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Error {
    pub file: File,
    problem: String,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Authorities,
    Certificate,
    Key,
}

impl Tls {
    /// Whether a connection could be tried with these files now. Blocks on the disk.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else, or a key of another certificate.
    pub fn check(&self) -> Result<(), Error> {
        self.configuration().map(drop)
    }

    /// For one connection. Blocks on the disk.
    pub(super) fn connect_to(&self, broker: &Broker) -> Result<Arc<ClientConfig>, Error> {
        let mut configuration = self.configuration()?;
        configuration.alpn_protocols = alpn_protocols(broker);
        Ok(Arc::new(configuration))
    }

    fn configuration(&self) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_root_certificates(self.authorities()?);
        let Some(ClientCertificate { cert_file, key_file }) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(File::Certificate, cert_file)?;
        let key = private_key(key_file)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error {
                file: File::Key,
                problem: format!(
                    "{} is not the key of the certificate {}",
                    key_file.display(),
                    cert_file.display()
                ),
            },
            rustls::Error::InvalidCertificate(_) => Error {
                file: File::Certificate,
                problem: format!("{} is not a certificate: {error}", cert_file.display()),
            },
            _ => Error {
                file: File::Key,
                problem: format!(
                    "{} has a key that cannot be used; it must be ECDSA with P-256 or P-384, RSA \
                     with 2048 to 4096 bits, or Ed25519",
                    key_file.display()
                ),
            },
        })
    }

    fn authorities(&self) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        // A system's bundle may have one that nobody can read any more.
        let (usable, _) =
            store.add_parsable_certificates(certificates(File::Authorities, &self.ca_file)?);
        if usable > 0 {
            return Ok(store);
        }
        let problem = format!("{} has no certificate that can be read", self.ca_file.display());
        Err(Error { file: File::Authorities, problem })
    }
}

/// AWS IoT Core tells MQTT with client certificates from HTTPS by this name when both come to port
/// 443 (AWS IoT Developer Guide, "Device communication protocols"). Elsewhere nothing is asked for: a
/// server that knows names, but not the one asked for, hangs up.
fn alpn_protocols(broker: &Broker) -> Vec<Vec<u8>> {
    let host = broker.host.trim_end_matches('.').to_ascii_lowercase();
    let aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    if aws && broker.port == 443 { vec![b"x-amzn-mqtt-ca".to_vec()] } else { Vec::new() }
}

fn certificates(file: File, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(file, path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(file, path, &error))?;
    if certificates.is_empty() {
        let problem =
            format!("{} has no certificate; it must be PEM with BEGIN CERTIFICATE", path.display());
        return Err(Error { file, problem });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(File::Key, path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => Error {
            file: File::Key,
            problem: format!(
                "{} has no private key; it must be PEM with BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC \
                 PRIVATE KEY, and not encrypted",
                path.display()
            ),
        },
        other => malformed(File::Key, path, &other),
    })
}

fn read(file: File, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error: io::Error| Error {
        file,
        problem: format!("failed to read {}: {error}", path.display()),
    })
}

fn malformed(file: File, path: &Path, error: &pem::Error) -> Error {
    Error { file, problem: format!("{} is damaged PEM: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aws_at_port_443_is_asked_for_its_protocol() {
        let asked = |host: &str, port| {
            !alpn_protocols(&Broker { host: host.into(), port, tls: true }).is_empty()
        };
        assert!(asked("a1b2-ats.iot.eu-central-1.amazonaws.com", 443));
        assert!(asked("A1B2.ats.iot.cn-north-1.amazonaws.com.cn.", 443));
        assert!(!asked("a1b2-ats.iot.eu-central-1.amazonaws.com", 8883));
        assert!(!asked("broker.example", 443));
        assert!(!asked("notamazonaws.com", 443));
    }
}
