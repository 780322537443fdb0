//! A set of logins, and the comparison of a request with it.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The logins. Only digests of `username:password` are kept, which also makes
/// everything that is compared equally long.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pairs(Vec<Pair>);

#[derive(Clone, PartialEq, Eq)]
struct Pair {
    login: Arc<Login>,
    digest: [u8; 32],
}

/// Who a platform is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// The user name of the login.
    pub(crate) user: String,
    /// The platform that the login belongs to.
    pub(crate) platform: String,
}

impl Pairs {
    pub(super) fn new(logins: impl IntoIterator<Item = (Login, SecretString)>) -> Self {
        Self(
            logins
                .into_iter()
                .map(|(login, password)| Pair {
                    digest: Sha256::new()
                        .chain_update(login.user.as_bytes())
                        .chain_update(b":")
                        .chain_update(password.expose_secret().as_bytes())
                        .finalize()
                        .into(),
                    login: Arc::new(login),
                })
                .collect(),
        )
    }

    /// A user whose login is there twice, for different platforms.
    pub(super) fn ambiguous(&self) -> Option<&str> {
        let mut seen: HashMap<&[u8; 32], &str> = HashMap::new();
        self.0.iter().find_map(|pair| {
            let platform = seen.entry(&pair.digest).or_insert(&pair.login.platform);
            (*platform != pair.login.platform).then_some(&*pair.login.user)
        })
    }

    /// The platforms, each once.
    pub(super) fn platforms(&self) -> BTreeSet<&str> {
        self.0.iter().map(|pair| &*pair.login.platform).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The login that the headers carry. Takes the same time whichever
    /// login matches, and whether one does.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Option<Arc<Login>> {
        let given = given(headers)?;
        let digest: [u8; 32] = Sha256::digest(given.expose_secret()).into();
        let mut found = Choice::from(0);
        let mut index = 0_u32;
        for (candidate, pair) in (0_u32..).zip(&self.0) {
            let equal = pair.digest.ct_eq(&digest);
            index.conditional_assign(&candidate, equal);
            found |= equal;
        }
        bool::from(found)
            .then(|| self.0.get(usize::try_from(index).ok()?))
            .flatten()
            .map(|pair| Arc::clone(&pair.login))
    }
}

/// The decoded `username:password` of the one Authorization header.
fn given(headers: &HeaderMap) -> Option<SecretSlice<u8>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, encoded) = value.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64.decode(encoded.trim()).ok().map(SecretSlice::from)
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|pair| &pair.login.user))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Pairs {
        let login = |user: &str| Login {
            user: user.to_owned(),
            platform: format!("{user}-platform"),
        };
        Pairs::new([
            (login("first"), SecretString::from("pass:word")),
            (login("second"), SecretString::from("hunter2")),
        ])
    }

    fn authenticate(value: &str) -> Option<Arc<Login>> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        pairs().authenticate(&headers)
    }

    fn user(value: &str) -> Option<String> {
        let login = authenticate(value)?;
        assert_eq!(login.platform, format!("{}-platform", login.user));
        Some(login.user.clone())
    }

    fn encode(text: &str) -> String {
        BASE64.encode(text)
    }

    #[test]
    fn any_of_the_logins_is_taken_and_its_user_is_told() {
        for (text, user) in [("first:pass:word", "first"), ("second:hunter2", "second")] {
            let encoded = encode(text);
            let bare = encoded.trim_end_matches('=');
            for header in [format!("Basic {encoded}"), format!("bASIC  {bare}")] {
                assert_eq!(self::user(&header).as_deref(), Some(user), "{header}");
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["first:hunter2", "second:", ":", "", "firstpass:word"] {
            assert!(authenticate(&format!("Basic {}", encode(text))).is_none());
        }
        for value in ["", "Basic", "Basic !!!", "Bearer abc"] {
            assert!(authenticate(value).is_none(), "{value}");
        }
        assert!(pairs().authenticate(&HeaderMap::new()).is_none());

        let mut twice = HeaderMap::new();
        let value = format!("Basic {}", encode("second:hunter2"));
        twice.append(AUTHORIZATION, value.parse().unwrap());
        twice.append(AUTHORIZATION, value.parse().unwrap());
        assert!(pairs().authenticate(&twice).is_none());
    }

    #[test]
    fn debug_shows_names_only() {
        assert_eq!(format!("{:?}", pairs()), r#"["first", "second"]"#);
    }
}
