//! Names and passwords of database users: random, and of characters that need
//! no encoding in a URI.

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::SecretString;

use crate::ledger::{Attempt, Login};

/// 62^32 > 2^190.
const PASSWORD_LENGTH: usize = 32;

/// A new attempt of `holder` for the binding record of that name.
pub fn attempt(record: &str, number: u32, holder: &str, instance_incarnation: &str) -> Attempt {
    // Random, so that rivals that take over at the same moment share neither
    // user nor Secret.
    let unique = format!(
        "{}-{}",
        cluster::names::short(record),
        cluster::names::random(10)
    );
    Attempt {
        number,
        holder: holder.to_owned(),
        login: Login {
            user: format!("b-{unique}"),
            secret: format!("login-{unique}"),
            instance_incarnation: instance_incarnation.to_owned(),
        },
    }
}

/// A new password.
pub fn password() -> SecretString {
    SecretString::from(Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn passwords_are_long_differ_and_need_no_encoding() {
        let (one, two) = (password(), password());
        assert_eq!(one.expose_secret().len(), PASSWORD_LENGTH);
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert!(
            one.expose_secret()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
        );
    }

    #[test]
    fn attempts_share_nothing_and_are_legal_names() {
        let record = cluster::names::binding_record("i", "b");
        let (one, two) = (attempt(&record, 1, "h", "x"), attempt(&record, 1, "h", "x"));
        assert_ne!(one.login.user, two.login.user);
        assert_ne!(one.login.secret, two.login.secret);
        assert!(one.login.secret.len() <= 63);
        assert!(
            one.login
                .user
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
    }
}
