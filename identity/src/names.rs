//! Names of what is stored, and of those who get a certificate.

/// Who gets a certificate, each in the Secret `<caller>-tls`.
pub(crate) const CALLERS: [&str; 5] = [
    "gateway",
    "catalog-svc",
    "provisioner-svc",
    "binder-svc",
    ADMIN,
];
/// People and grpcurl.
const ADMIN: &str = "admin";

/// The Secret of the authority.
pub(crate) const AUTHORITY: &str = "authority";

/// The Secret of a caller's certificate.
pub(crate) fn secret(caller: &str) -> String {
    format!("{caller}-tls")
}

/// Whether it serves, too, and so has a DNS name: nobody else can pose as a server.
pub(crate) fn serves(caller: &str) -> bool {
    caller != ADMIN && caller != "gateway"
}

/// Of a caller, in its certificate.
pub(crate) fn uri(caller: &str) -> String {
    format!("spiffe://mongodb-osb/{caller}")
}
