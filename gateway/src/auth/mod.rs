//! I/O: who a client is. Checks connection and subscription tokens (JWT) against configured secrets, public keys and
//! the key documents (JWKS) of configured issuers. Nothing in a token chooses where a key comes from.

mod claims;
mod jwks;
pub(crate) mod keyring;
mod secret;
mod token;
mod visibility;

pub use claims::{ConnectionClaims, Overrides, SubOptions, SubscriptionClaims};
pub use jwks::JwksIssuer;
pub use secret::Secret;
pub use visibility::Visibility;

use claims::Claims;
use protocol::time::Now;
use std::sync::Arc;
use token::{Key, Token};

/// The keys that sign tokens, and what tokens must say. The default has no keys: every token is invalid.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Secrets of HS256, HS384 and HS512. Each of them verifies, so that they can be rotated; the first one signs.
    pub hmac_secrets: Vec<Secret>,
    /// Public keys in PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`): RSA of at least 2048 bits for RS256, P-256 for ES256, Ed25519 for EdDSA.
    pub public_keys: Vec<String>,
    /// Issuers that publish their keys. A token whose `iss` is one of them is judged by that issuer's keys alone.
    pub jwks: Vec<JwksIssuer>,
    /// What `aud` must be or contain.
    pub audience: Option<String>,
    /// What `iss` must be in tokens signed with `hmac_secrets` or `public_keys`.
    pub issuer: Option<String>,
}

/// Why tokens cannot be checked with this configuration. Nothing was started; correct the key that the text names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthConfigError {
    /// An empty secret would let anybody sign.
    #[error("auth.hmac_secrets[{0}] is empty")]
    EmptySecret(usize),
    /// The text is no public key that can be used.
    #[error("auth.public_keys[{0}] is not a PEM public key of RSA, P-256 or Ed25519")]
    PublicKey(usize),
    /// Two entries name one issuer, or an entry names none.
    #[error("auth.jwks: the issuer {0:?} is empty or named twice")]
    Issuer(String),
    /// Keys must not travel where they can be replaced on the way.
    #[error("auth.jwks: the url of issuer {0:?} must be https, or http to a loopback address")]
    JwksUrl(String),
    /// The machine offers no way to check the certificates of issuers.
    #[error("auth.jwks: {0}")]
    HttpClient(String),
}

/// Why a token is refused. Nothing changed. The reasons are fixed texts: no part of a token reaches a log or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The same token never helps. Answer a connect or refresh by closing with 3500, a subscribe or sub_refresh with error 103, HTTP with 401.
    #[error("invalid token: {0}")]
    Invalid(&'static str),
    /// The token was good once. Answer with error 109 (HTTP 401), upon which SDKs fetch a new one and retry.
    #[error("token expired")]
    Expired,
    /// The issuer's keys cannot be fetched at present. Answer with error 100, which is temporary (HTTP 503); the same token may be good later.
    #[error("the token's keys are unavailable")]
    Unavailable,
}

/// Checks tokens. Cheap to clone; a changed configuration is a new verifier.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Vec<Key>,
    jwks: jwks::Jwks,
    audience: Option<String>,
    issuer: Option<String>,
    signing: Option<Secret>,
}

impl Verifier {
    /// Reads every key and checks every URL of `config`; fetches nothing yet. With `jwks`, the process must have
    /// installed a rustls crypto provider before.
    pub fn new(config: AuthConfig) -> Result<Verifier, AuthConfigError> {
        let mut keys = Vec::new();
        for (index, secret) in config.hmac_secrets.iter().enumerate() {
            keys.push(Key::from_secret(secret).ok_or(AuthConfigError::EmptySecret(index))?);
        }
        for (index, pem) in config.public_keys.iter().enumerate() {
            keys.push(Key::from_pem(pem).ok_or(AuthConfigError::PublicKey(index))?);
        }
        Ok(Verifier(Arc::new(Inner {
            keys,
            jwks: jwks::Jwks::new(config.jwks)?,
            audience: config.audience,
            issuer: config.issuer,
            signing: config.hmac_secrets.into_iter().next(),
        })))
    }

    /// Checks the token of a connect or refresh. Waits only while an issuer's keys are fetched, at most 5 s.
    pub async fn connection(&self, token: &str, now: Now) -> Result<ConnectionClaims, TokenError> {
        self.claims(token, now).await?.connection()
    }

    /// Checks the token of a subscribe or sub_refresh. The caller compares its user and channel with what was asked.
    pub async fn subscription(&self, token: &str, now: Now) -> Result<SubscriptionClaims, TokenError> {
        self.claims(token, now).await?.subscription()
    }

    /// Signs `claims` with the first HMAC secret (HS256); `None` when there is none.
    #[must_use]
    pub fn sign(&self, claims: &serde_json::Value) -> Option<String> {
        self.0.signing.as_ref().map(|secret| sign_hs256(secret, claims))
    }

    async fn claims(&self, token: &str, now: Now) -> Result<Claims, TokenError> {
        let Inner { keys, jwks, audience, issuer, .. } = &*self.0;
        let token = Token::parse(token)?;
        let (payload, issuer) = match jwks.issuer_of(&token) {
            Some(published) => {
                let key = published.key(token.kid(), token.algorithm(), now).await?;
                (token.verified_by([&*key])?, Some(published.name()))
            }
            None => (token.verified_by(keys)?, issuer.as_deref()),
        };
        Claims::judge(&payload, audience.as_deref(), issuer, now)
    }
}

/// A token over `claims`, a JSON object, signed by HS256.
#[must_use]
pub fn sign_hs256(secret: &Secret, claims: &serde_json::Value) -> String {
    token::sign_hs256(secret, claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

    fn hmac(secrets: &[&str]) -> AuthConfig {
        AuthConfig { hmac_secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(), ..AuthConfig::default() }
    }

    async fn connect(config: AuthConfig, secret: &str, claims: Value) -> Result<ConnectionClaims, TokenError> {
        Verifier::new(config).unwrap().connection(&sign_hs256(&Secret::new(secret), &claims), NOW).await
    }

    #[tokio::test]
    async fn every_configured_secret_verifies_and_the_first_one_signs() {
        let verifier = Verifier::new(hmac(&["new", "old"])).unwrap();
        let claims = json!({ "sub": "ann" });
        assert_eq!(verifier.sign(&claims), Some(sign_hs256(&Secret::new("new"), &claims)));
        for secret in ["new", "old"] {
            assert_eq!(connect(hmac(&["new", "old"]), secret, claims.clone()).await.unwrap().user, "ann");
        }
        assert!(matches!(connect(hmac(&["new"]), "old", claims.clone()).await, Err(TokenError::Invalid(_))));
        let keyless = Verifier::new(AuthConfig::default()).unwrap();
        assert_eq!(keyless.sign(&claims), None);
        assert!(matches!(keyless.connection(&sign_hs256(&Secret::new("x"), &claims), NOW).await, Err(TokenError::Invalid(_))));
    }

    #[tokio::test]
    async fn a_configured_issuer_and_audience_must_be_met_exactly() {
        let config = || AuthConfig { audience: Some("chat".into()), issuer: Some("shop".into()), ..hmac(&["s"]) };
        for aud in [json!("chat"), json!(["mail", "chat"])] {
            assert!(connect(config(), "s", json!({ "iss": "shop", "aud": aud })).await.is_ok());
        }
        for (iss, aud) in
            [(json!("shop2"), json!("chat")), (json!("shop"), json!("chats")), (json!("shop"), json!([])), (json!(null), json!("chat"))]
        {
            assert!(matches!(connect(config(), "s", json!({ "iss": iss, "aud": aud })).await, Err(TokenError::Invalid(_))), "{iss} {aud}");
        }
    }

    #[tokio::test]
    async fn a_token_is_good_for_one_purpose_only() {
        let verifier = Verifier::new(hmac(&["s"])).unwrap();
        let subscription = verifier.sign(&json!({ "sub": "ann", "channel": "room", "exp": 1_700_000_060 })).unwrap();
        let connection = verifier.sign(&json!({ "sub": "ann" })).unwrap();
        let claims = verifier.subscription(&subscription, NOW).await.unwrap();
        assert_eq!((claims.user.as_str(), claims.channel.as_str(), claims.expires_at_s), ("ann", "room", Some(1_700_000_060)));
        assert!(matches!(verifier.connection(&subscription, NOW).await, Err(TokenError::Invalid(_))));
        assert!(matches!(verifier.subscription(&connection, NOW).await, Err(TokenError::Invalid(_))));
    }

    #[tokio::test]
    async fn a_signature_is_judged_before_the_expiry() {
        let expired = json!({ "exp": 1 });
        assert_eq!(connect(hmac(&["s"]), "s", expired.clone()).await, Err(TokenError::Expired));
        assert!(matches!(connect(hmac(&["s"]), "other", expired).await, Err(TokenError::Invalid(_))));
    }

    #[test]
    fn a_configuration_that_could_not_work_is_refused() {
        let refused = |config| Verifier::new(config).unwrap_err();
        assert_eq!(refused(hmac(&["good", ""])), AuthConfigError::EmptySecret(1));
        for pem in ["", "nonsense", include_str!("testdata/rsa.pem"), include_str!("testdata/p384.pub.pem")] {
            assert_eq!(refused(AuthConfig { public_keys: vec![pem.into()], ..AuthConfig::default() }), AuthConfigError::PublicKey(0));
        }
        let jwks = |issuer: &str, url: &str| JwksIssuer { issuer: issuer.into(), url: url.into() };
        for url in [
            "http://example.com/keys",
            "ftp://localhost/",
            "file:///etc/passwd",
            "http://127.0.0.1.example.com/",
            "http://10.0.0.1/",
            "keys",
            "https://",
        ] {
            let config = AuthConfig { jwks: vec![jwks("a", url)], ..AuthConfig::default() };
            assert_eq!(refused(config), AuthConfigError::JwksUrl("a".into()), "{url}");
        }
        assert_eq!(
            refused(AuthConfig { jwks: vec![jwks("", "https://a")], ..AuthConfig::default() }),
            AuthConfigError::Issuer(String::new())
        );
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let twice = vec![jwks("a", "http://[::1]/x"), jwks("a", "http://localhost/y")];
        assert_eq!(refused(AuthConfig { jwks: twice, ..AuthConfig::default() }), AuthConfigError::Issuer("a".into()));
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let config = hmac(&["canary-7301"]);
        let shown = format!("{config:?} {:?} {:?}", config.hmac_secrets[0], Verifier::new(config.clone()).unwrap());
        assert!(shown.contains("***") && !shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
    }
}
