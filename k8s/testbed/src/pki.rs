//! The certificates of one cluster: its authority, the servers' and the users'.
//!
//! Users are certificates (common name = user, organisation = groups), so that a user with any
//! name and groups can be made at any time without restarting the API server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::error::{At as _, Result};

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority that signs everything in one cluster, kept in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes a new one in that folder, with the key that signs service account tokens.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).at("create", folder)?;
        let mut params = named("testbed", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let accounts = KeyPair::generate()?;
        let authority = Self {
            folder: folder.to_owned(),
        };
        write(&authority.certificate_file(), &certificate)?;
        write(&authority.key_file(), &key.serialize_pem())?;
        write(&authority.accounts_key_file(), &accounts.serialize_pem())?;
        write(
            &authority.accounts_public_file(),
            &accounts.public_key_pem(),
        )?;
        Ok(authority)
    }

    /// The one that was made in that folder before.
    pub(crate) fn open(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The authority's certificate.
    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The authority's key.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The key that signs the tokens of service accounts.
    pub(crate) fn accounts_key_file(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    /// The key that verifies the tokens of service accounts.
    pub(crate) fn accounts_public_file(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    /// The authority's certificate, PEM.
    pub(crate) fn certificate(&self) -> Result<String> {
        let path = self.certificate_file();
        fs::read_to_string(&path).at("read", path)
    }

    /// A server certificate for these names and addresses, as files `<name>.crt` and `<name>.key`.
    pub(crate) fn server(&self, name: &str, hosts: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let mut params = named(name, &[]);
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let pair = self.sign(params)?;
        self.store(name, &pair)
    }

    /// A client certificate that says who the caller is, as files `<name>.crt` and `<name>.key`.
    pub(crate) fn client_files(
        &self,
        file: &str,
        user: &str,
        groups: &[&str],
    ) -> Result<(PathBuf, PathBuf)> {
        let pair = self.client(user, groups)?;
        self.store(file, &pair)
    }

    /// A client certificate that says who the caller is.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Pair> {
        let mut params = named(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let path = self.key_file();
        let authority_key = KeyPair::from_pem(&fs::read_to_string(&path).at("read", path)?)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate()?, authority_key)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn store(&self, name: &str, pair: &Pair) -> Result<(PathBuf, PathBuf)> {
        let certificate = self.folder.join(format!("{name}.crt"));
        let key = self.folder.join(format!("{name}.key"));
        write(&certificate, &pair.certificate)?;
        write(&key, &pair.key)?;
        Ok((certificate, key))
    }
}

/// Writes a file that only we can read.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    // A new file each time: the mode counts only when a file is made.
    let _ = fs::remove_file(path);
    let mut file = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .at("create", path)?;
    file.write_all(text.as_bytes()).at("write", path)
}

fn named(user: &str, groups: &[&str]) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params
}
