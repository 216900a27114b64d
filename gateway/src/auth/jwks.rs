//! I/O: fetches the keys that issuers publish. An issuer's URL is fixed by configuration and its keys are its own:
//! a key id of one issuer says nothing about another's (CVE-2026-32301, CVE-2026-49998).

use super::keyring::{self, Keyring, Missing};
use super::token::{Key, Token};
use super::{AuthConfigError, TokenError};
use crate::outbound;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use protocol::time::Now;
use reqwest::{Client, StatusCode, Url};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Time for one request, from connecting to the last byte; then it has failed.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a document; reading stops there and the request has failed.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// An issuer of tokens and the document that lists its keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwksIssuer {
    /// What `iss` is in its tokens, to the byte.
    pub issuer: String,
    /// Where its JWKS document is: https, or http to a loopback address.
    pub url: String,
}

/// The configured issuers by name.
#[derive(Debug)]
pub(super) struct Jwks(BTreeMap<String, Arc<Issuer>>);

/// One issuer and what is known of its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    url: Url,
    client: Client,
    keyring: Mutex<Keyring>,
    /// Wakes those who wait for a request to end.
    ended: Notify,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the document is longer than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("the document is malformed: {0}")]
    Malformed(&'static str),
}

impl Jwks {
    pub(super) fn new(configured: Vec<JwksIssuer>) -> Result<Jwks, AuthConfigError> {
        let mut issuers = BTreeMap::new();
        for JwksIssuer { issuer: name, url } in configured {
            if name.is_empty() || issuers.contains_key(&name) {
                return Err(AuthConfigError::Issuer(name));
            }
            let Some(url) = Url::parse(&url).ok().filter(outbound::is_trustworthy) else {
                return Err(AuthConfigError::JwksUrl(name));
            };
            let client =
                outbound::client(&url).timeout(FETCH_TIMEOUT).build().map_err(|error| AuthConfigError::HttpClient(error.to_string()))?;
            let issuer = Issuer { name: name.clone(), url, client, keyring: Mutex::default(), ended: Notify::new() };
            issuers.insert(name, Arc::new(issuer));
        }
        Ok(Jwks(issuers))
    }

    /// The configured issuer whose keys must have signed `token`.
    pub(super) fn issuer_of(&self, token: &Token<'_>) -> Option<&Arc<Issuer>> {
        if self.0.is_empty() { None } else { self.0.get(&token.claimed_issuer()?) }
    }
}

impl Issuer {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The issuer's key for a token. Requests run in a task of their own, so that a client that hangs up cannot
    /// cancel what others wait for; there is at most one per issuer.
    pub(super) async fn key(self: &Arc<Self>, kid: Option<&str>, algorithm: Algorithm, now: Now) -> Result<Arc<Key>, TokenError> {
        // Created before looking, so that an end in between is not missed.
        let ended = self.ended.notified();
        let found = {
            let mut keyring = self.keyring.lock();
            if keyring.begin(kid, algorithm, now) {
                tokio::spawn(Arc::clone(self).refresh());
            }
            keyring.find(kid, algorithm, now)
        };
        let found = match found {
            Err(Missing::Pending) => {
                ended.await;
                self.keyring.lock().find(kid, algorithm, now)
            }
            found => found,
        };
        found.map_err(TokenError::from)
    }

    async fn refresh(self: Arc<Self>) {
        let keys = self.fetch().await;
        if let Err(error) = &keys {
            tracing::warn!(event = "jwks_fetch_failed", issuer = self.name, error = error as &dyn std::error::Error);
        }
        self.keyring.lock().end(keys.ok());
        self.ended.notify_waiters();
    }

    async fn fetch(&self) -> Result<Vec<Key>, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            document.extend_from_slice(&chunk);
        }
        keyring::parse(&document).map_err(FetchError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::tests::{signed, signer};
    use super::super::{AuthConfig, Secret, Verifier};
    use super::*;
    use axum::{Router, response::IntoResponse};
    use jsonwebtoken::{EncodingKey, jwk::Jwk};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

    /// An issuer's HTTP server on a free port, whose answer the test sets. It answers while its gate is open.
    struct Server {
        url: String,
        answer: Mutex<(u16, String)>,
        requests: AtomicUsize,
        gate: Semaphore,
    }

    impl Server {
        async fn start() -> Arc<Server> {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/keys", listener.local_addr().unwrap());
            let server = Arc::new(Server { url, answer: Mutex::default(), requests: AtomicUsize::new(0), gate: Semaphore::new(1) });
            let shared = Arc::clone(&server);
            let router = Router::new().fallback(async move || {
                let _open = shared.gate.acquire().await.unwrap();
                shared.requests.fetch_add(1, Ordering::SeqCst);
                let (status, body) = shared.answer.lock().clone();
                (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], body).into_response()
            });
            tokio::spawn(async move { axum::serve(listener, router).await });
            server
        }

        /// Publishes the public half of a key under an id.
        fn publish(&self, key: &EncodingKey, algorithm: Algorithm, kid: &str) {
            let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
            jwk.common.key_id = Some(kid.into());
            *self.answer.lock() = (200, json!({ "keys": [jwk] }).to_string());
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::SeqCst)
        }
    }

    fn verifier(issuers: &[(&str, &str)]) -> Verifier {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let jwks = issuers.iter().map(|(issuer, url)| JwksIssuer { issuer: (*issuer).into(), url: (*url).into() }).collect();
        Verifier::new(AuthConfig {
            jwks,
            hmac_secrets: vec![Secret::new("a secret")],
            issuer: Some("shop".into()),
            ..AuthConfig::default()
        })
        .unwrap()
    }

    fn token(issuer: &str, kid: &str) -> String {
        signed(Algorithm::RS256, &signer(Algorithm::RS256), Some(kid), &json!({ "iss": issuer, "sub": "ann" }))
    }

    fn stranger() -> EncodingKey {
        EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa-stranger.pem")).unwrap()
    }

    async fn check(verifier: &Verifier, token: &str, now: Now) -> Result<String, TokenError> {
        verifier.connection(token, now).await.map(|claims| claims.user)
    }

    #[tokio::test]
    async fn published_keys_of_every_algorithm_verify() {
        let server = Server::start().await;
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            server.publish(&signer(algorithm), algorithm, "k");
            let token = signed(algorithm, &signer(algorithm), Some("k"), &json!({ "iss": "a", "sub": "ann" }));
            assert_eq!(check(&verifier(&[("a", &server.url)]), &token, NOW).await.as_deref(), Ok("ann"), "{algorithm:?}");
        }
    }

    #[tokio::test]
    async fn one_issuers_key_does_not_validate_anothers_token_though_the_key_ids_agree() {
        let (a, b) = (Server::start().await, Server::start().await);
        a.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        b.publish(&stranger(), Algorithm::RS256, "k");
        let verifier = verifier(&[("a", &a.url), ("b", &b.url)]);
        for _ in 0..2 {
            assert!(check(&verifier, &token("a", "k"), NOW).await.is_ok());
            assert_eq!(check(&verifier, &token("b", "k"), NOW).await, Err(TokenError::Invalid("wrong signature")));
        }
        let ours = verifier.sign(&json!({ "iss": "a" })).unwrap();
        assert!(matches!(check(&verifier, &ours, NOW).await, Err(TokenError::Invalid(_))), "our secret is not one of its keys");
    }

    #[tokio::test]
    async fn an_issuer_that_is_not_configured_is_invalid_and_contacts_nobody() {
        let server = Server::start().await;
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        let verifier = verifier(&[("a", &server.url)]);
        for issuer in ["b", "A", "a/", "", &server.url] {
            assert!(matches!(check(&verifier, &token(issuer, "k"), NOW).await, Err(TokenError::Invalid(_))), "{issuer}");
        }
        assert_eq!(server.requests(), 0);
    }

    #[tokio::test]
    async fn unknown_key_ids_make_one_request_in_thirty_seconds_and_then_find_a_new_key() {
        let server = Server::start().await;
        server.publish(&stranger(), Algorithm::RS256, "old");
        let verifier = verifier(&[("a", &server.url)]);
        for kid in ["new", "newer", "new"] {
            assert_eq!(check(&verifier, &token("a", kid), NOW).await, Err(TokenError::Invalid("its issuer has no such key")));
        }
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "new");
        assert!(check(&verifier, &token("a", "new"), NOW.plus_ms(29_999)).await.is_err());
        assert_eq!(server.requests(), 1);
        assert!(check(&verifier, &token("a", "new"), NOW.plus_ms(30_000)).await.is_ok());
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn many_tokens_at_once_make_one_request_which_a_caller_that_leaves_does_not_cancel() {
        let server = Server::start().await;
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        let verifier = verifier(&[("a", &server.url)]);
        let closed = server.gate.acquire().await.unwrap();
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let verifier = verifier.clone();
                tokio::spawn(async move { check(&verifier, &token("a", "k"), NOW).await })
            })
            .collect();
        // Polled before the others, this caller begins the request; then it leaves.
        let early = token("a", "k");
        tokio::select! {
            biased;
            _ = check(&verifier, &early, NOW) => unreachable!("the gate is closed"),
            () = std::future::ready(()) => {}
        }
        drop(closed);
        for caller in callers {
            assert!(caller.await.unwrap().is_ok());
        }
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_is_unavailable_and_found_again_when_it_is_up() {
        let refused = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
        let nobody = verifier(&[("a", &format!("http://{refused}/"))]);
        assert_eq!(check(&nobody, &token("a", "k"), NOW).await, Err(TokenError::Unavailable));

        let server = Server::start().await;
        let verifier = verifier(&[("a", &server.url)]);
        for (attempt, answer) in [(503, ""), (200, "<html>"), (404, "{\"keys\":[]}"), (204, "")].into_iter().enumerate() {
            *server.answer.lock() = (answer.0, answer.1.into());
            for since_ms in [0, 4_999] {
                let now = NOW.plus_ms(5_000 * attempt as u64 + since_ms);
                assert_eq!(check(&verifier, &token("a", "k"), now).await, Err(TokenError::Unavailable));
            }
        }
        assert_eq!(server.requests(), 4);
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        assert!(check(&verifier, &token("a", "k"), NOW.plus_ms(20_000)).await.is_ok());
        *server.answer.lock() = (503, String::new());
        assert!(check(&verifier, &token("a", "k"), NOW.plus_ms(7_200_000)).await.is_ok());
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let server = Server::start().await;
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        server.answer.lock().0 = 302;
        assert_eq!(check(&verifier(&[("a", &server.url)]), &token("a", "k"), NOW).await, Err(TokenError::Unavailable));
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn a_document_above_the_bound_is_refused() {
        let server = Server::start().await;
        server.publish(&signer(Algorithm::RS256), Algorithm::RS256, "k");
        let padded = |bytes: usize| {
            let body = server.answer.lock().1.trim_end().to_owned();
            *server.answer.lock() = (200, format!("{body}{}", " ".repeat(bytes - body.len())));
        };
        padded(DOCUMENT_BYTES_MAX + 1);
        assert_eq!(check(&verifier(&[("a", &server.url)]), &token("a", "k"), NOW).await, Err(TokenError::Unavailable));
        padded(DOCUMENT_BYTES_MAX);
        assert!(check(&verifier(&[("a", &server.url)]), &token("a", "k"), NOW).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_never_answers_is_given_up_after_five_seconds() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = verifier(&[("a", &format!("http://{}/", listener.local_addr().unwrap()))]);
        let answer = tokio::time::timeout(FETCH_TIMEOUT * 2, check(&silent, &token("a", "k"), NOW)).await;
        assert_eq!(answer, Ok(Err(TokenError::Unavailable)));
    }
}
