//! Pure: the outer form of a token (RFC 7515, compact) and its signature.
//!
//! Each key is pinned to its own algorithms, so a token's header can choose among keys and never what a key is used for:
//! an HMAC secret verifies no RSA token, a public key is never taken for a secret, and `none` has no key.

use super::{Secret, TokenError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use protocol::limits::MESSAGE_BYTES_MAX;
use serde::{Deserialize, de::IgnoredAny};

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[Algorithm::RS256];
const P256: &[Algorithm] = &[Algorithm::ES256];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];
/// Bytes of an uncompressed point on P-256; those of other curves differ.
const P256_POINT_BYTES: usize = 65;

/// A token taken apart, not yet verified.
#[derive(Debug)]
pub(super) struct Token<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a str,
    signature: &'a str,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct ProtectedHeader {
    alg: Algorithm,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Reads `header.payload.signature`.
    pub(super) fn parse(text: &'a str) -> Result<Token<'a>, TokenError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(TokenError::Invalid("longer than a message"));
        }
        let parts = || {
            let (signed, signature) = text.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            Some((signed, signature, BASE64URL.decode(header).ok()?, BASE64URL.decode(payload).ok()?))
        };
        let (signed, signature, header, payload) = parts().ok_or(TokenError::Invalid("not three parts in base64url"))?;
        let ProtectedHeader { alg, kid, crit } =
            serde_json::from_slice(&header).map_err(|_| TokenError::Invalid("malformed header or unknown algorithm"))?;
        if crit.is_some() {
            return Err(TokenError::Invalid("critical extensions are not understood"));
        }
        Ok(Token { algorithm: alg, kid, signed, signature, payload })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What the token says its issuer is; anybody can write that, so it may choose among configured issuers only.
    pub(super) fn claimed_issuer(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Issued {
            iss: Option<String>,
        }
        serde_json::from_slice::<Issued>(&self.payload).ok()?.iss
    }

    /// The payload, if one of `keys` signed it.
    pub(super) fn verified_by<'k>(self, keys: impl IntoIterator<Item = &'k Key>) -> Result<Vec<u8>, TokenError> {
        let mut keys = keys.into_iter().filter(|key| key.algorithms.contains(&self.algorithm)).peekable();
        if keys.peek().is_none() {
            return Err(TokenError::Invalid("no key for its issuer and algorithm"));
        }
        let signed_by = |key: &Key| crypto::verify(self.signature, self.signed.as_bytes(), &key.key, self.algorithm).unwrap_or(false);
        if keys.any(signed_by) { Ok(self.payload) } else { Err(TokenError::Invalid("wrong signature")) }
    }
}

/// A key and the algorithms it may be used with.
#[derive(Debug)]
pub(crate) struct Key {
    algorithms: &'static [Algorithm],
    kid: Option<String>,
    key: DecodingKey,
}

impl Key {
    /// `None` for an empty secret.
    pub(super) fn from_secret(secret: &Secret) -> Option<Key> {
        (!secret.bytes().is_empty()).then(|| Key { algorithms: HMAC, kid: None, key: DecodingKey::from_secret(secret.bytes()) })
    }

    /// `None` for anything but a public key of a kind that is used here; private keys and certificates are refused too.
    pub(super) fn from_pem(pem: &str) -> Option<Key> {
        let pem = pem.trim_start();
        if !pem.starts_with("-----BEGIN PUBLIC KEY-----") && !pem.starts_with("-----BEGIN RSA PUBLIC KEY-----") {
            return None;
        }
        let pem = pem.as_bytes();
        let (algorithms, key) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            (RSA, key)
        } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            (ED25519, key)
        } else {
            let key = DecodingKey::from_ec_pem(pem).ok()?;
            key.try_get_as_bytes().is_ok_and(|point| point.len() == P256_POINT_BYTES).then_some((P256, key))?
        };
        Some(Key { algorithms, kid: None, key })
    }

    /// `None` for a key that is not meant for signatures or of a kind not used here. Symmetric keys are refused above
    /// all: whoever can read the document could sign with them.
    pub(super) fn from_jwk(jwk: &Jwk) -> Option<Key> {
        let algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => P256,
            AlgorithmParameters::OctetKeyPair(point) if point.curve == EllipticCurve::Ed25519 => ED25519,
            _ => return None,
        };
        let common = &jwk.common;
        let meant = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify))
            && common.key_algorithm.is_none_or(|named| algorithms.iter().any(|algorithm| named == (*algorithm).into()));
        meant.then_some(())?;
        Some(Key { algorithms, kid: common.key_id.clone(), key: DecodingKey::from_jwk(jwk).ok()? })
    }

    /// Whether this is the key that a token with this `kid` and algorithm asks for.
    pub(super) fn is_for(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.kid.as_deref() == kid && self.algorithms.contains(&algorithm)
    }
}

/// A token over `claims`, signed by HS256.
pub(super) fn sign_hs256(secret: &Secret, claims: &serde_json::Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.bytes()))
        .expect("any JSON value serialises and an HMAC key of any length signs")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub.pem");

    /// A private test key, by the name of its file and the algorithm.
    pub(in crate::auth) fn signer(algorithm: Algorithm) -> EncodingKey {
        match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa.pem")).unwrap(),
            Algorithm::ES256 => EncodingKey::from_ec_pem(include_bytes!("testdata/p256.pem")).unwrap(),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(include_bytes!("testdata/ed25519.pem")).unwrap(),
            _ => EncodingKey::from_secret(b"a secret"),
        }
    }

    /// A token with `kid`, signed by `key`.
    pub(in crate::auth) fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    fn every_key() -> Vec<Key> {
        let pems = [RSA_PUBLIC, include_str!("testdata/p256.pub.pem"), include_str!("testdata/ed25519.pub.pem")];
        let secret = Key::from_secret(&Secret::new("a secret"));
        pems.into_iter().map(Key::from_pem).chain([secret]).map(Option::unwrap).collect()
    }

    fn verify(token: &str, keys: &[Key]) -> Result<Vec<u8>, TokenError> {
        Token::parse(token)?.verified_by(keys)
    }

    fn unsigned(header: &Value, payload: &Value) -> String {
        format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(payload.to_string()))
    }

    #[test]
    fn every_algorithm_verifies_with_its_own_key_and_no_other() {
        let claims = json!({ "sub": "ann" });
        let algorithms = HMAC.iter().chain(RSA).chain(P256).chain(ED25519).copied();
        for algorithm in algorithms {
            let token = signed(algorithm, &signer(algorithm), None, &claims);
            assert_eq!(verify(&token, &every_key()).unwrap(), claims.to_string().into_bytes(), "{algorithm:?}");
            let others: Vec<Key> = every_key().into_iter().filter(|key| !key.algorithms.contains(&algorithm)).collect();
            assert_eq!(verify(&token, &others), Err(TokenError::Invalid("no key for its issuer and algorithm")), "{algorithm:?}");
        }
    }

    #[test]
    fn another_key_of_the_same_kind_does_not_verify() {
        let stranger = EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa-stranger.pem")).unwrap();
        let tokens = [signed(Algorithm::RS256, &stranger, None, &json!({})), sign_hs256(&Secret::new("a secreT"), &json!({}))];
        for token in tokens {
            assert_eq!(verify(&token, &every_key()), Err(TokenError::Invalid("wrong signature")));
        }
    }

    #[test]
    fn algorithms_outside_the_list_are_refused_even_with_a_good_key() {
        for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
            let token = signed(algorithm, &signer(Algorithm::RS256), None, &json!({}));
            assert!(verify(&token, &every_key()).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn a_public_key_is_never_taken_for_a_secret() {
        for forger in [RSA_PUBLIC, RSA_PUBLIC.trim_end()] {
            let token = sign_hs256(&Secret::new(forger), &json!({ "sub": "admin" }));
            assert!(verify(&token, &every_key()).is_err());
            assert!(verify(&token, &every_key()[..1]).is_err());
        }
    }

    #[test]
    fn unsigned_tokens_are_refused() {
        for alg in ["none", "None", "NONE", "", "HS1", "hs256"] {
            let unsigned = unsigned(&json!({ "alg": alg }), &json!({ "sub": "admin" }));
            for token in [format!("{unsigned}."), unsigned] {
                assert!(verify(&token, &every_key()).is_err(), "{alg}");
            }
        }
        let stripped = format!("{}.", unsigned(&json!({ "alg": "HS256" }), &json!({})));
        assert_eq!(verify(&stripped, &every_key()), Err(TokenError::Invalid("wrong signature")));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let token = signed(Algorithm::EdDSA, &signer(Algorithm::EdDSA), None, &json!({ "sub": "ann", "exp": 1 }));
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            assert!(verify(std::str::from_utf8(&bytes).unwrap(), &every_key()).is_err(), "byte {index}");
        }
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = sign_hs256(&Secret::new("a secret"), &json!({}));
        let header = Header { crit: Some(vec!["exp".into()]), ..Header::default() };
        let critical = jsonwebtoken::encode(&header, &json!({}), &signer(Algorithm::HS256)).unwrap();
        let long = sign_hs256(&Secret::new("a secret"), &json!({ "sub": "a".repeat(MESSAGE_BYTES_MAX) }));
        for bad in
            ["", ".", "..", "a.b", "é.é.é", &good[1..], &format!("{good}."), &format!("{good}="), &format!(" {good}"), &critical, &long]
        {
            assert!(matches!(verify(bad, &every_key()), Err(TokenError::Invalid(_))), "{bad:.40}");
        }
    }

    #[test]
    fn only_published_signature_keys_of_known_kinds_are_taken() {
        let jwk = |algorithm| serde_json::to_value(Jwk::from_encoding_key(&signer(algorithm), algorithm).unwrap()).unwrap();
        let taken = |jwk: Value| Key::from_jwk(&serde_json::from_value(jwk).unwrap()).is_some();
        let with = |key: &str, value: Value| {
            let mut jwk = jwk(Algorithm::RS256);
            jwk[key] = value;
            jwk
        };
        assert!([Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].into_iter().map(jwk).all(taken));
        assert!(taken(with("use", json!("sig"))) && taken(with("key_ops", json!(["verify"]))) && taken(with("alg", json!(null))));
        assert!(!taken(with("use", json!("enc"))) && !taken(with("key_ops", json!(["encrypt"]))) && !taken(with("alg", json!("RS512"))));
        assert!(!taken(jwk(Algorithm::HS256)));
    }
}
