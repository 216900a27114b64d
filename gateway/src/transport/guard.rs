//! I/O: which pages may talk to us. Browsers say where a page comes from (`Origin`) and which name it used (`Host`);
//! checking both keeps foreign pages and rebound DNS names out (RFC 6454; OWASP on cross-site WebSocket hijacking).

use crate::{api::error::ApiError, gateway::Gateway};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};
use std::sync::Arc;

/// Names of this machine that a page in development mode may have used.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a request comes from this machine, by the name that it used, and from a page of the same place, if from a page.
#[must_use]
pub fn is_local(headers: &HeaderMap) -> bool {
    host(headers).is_some_and(is_loopback) && headers.get(header::ORIGIN).is_none_or(|origin| is_allowed(origin, headers, &[]))
}

/// The origin of the page that asks, if a page does; an error for a foreign one.
pub(crate) fn check<'a>(gateway: &Gateway, headers: &'a HeaderMap) -> Result<Option<&'a HeaderValue>, ApiError> {
    if gateway.settings.development && !host(headers).is_some_and(is_loopback) {
        return Err(ApiError::Forbidden("development mode answers to localhost, 127.0.0.1 and [::1] only (Host)"));
    }
    match headers.get(header::ORIGIN) {
        Some(origin) if !is_allowed(origin, headers, &gateway.settings.origins) => {
            tracing::debug!(?origin, "origin refused");
            Err(ApiError::Forbidden("this origin is not allowed; add it to auth.origins"))
        }
        origin => Ok(origin),
    }
}

/// Refuses requests of foreign pages, answers preflights, and tells allowed pages that they may read the answer.
pub(crate) async fn guard(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response<Body> {
    let origin = match check(&gateway, request.headers()) {
        Ok(Some(origin)) => origin.clone(),
        Ok(None) => return next.run(request).await,
        Err(refused) => return refused.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = if is_preflight { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn preflight() -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
    let allowed = "Content-Type, Authorization, X-API-Key, Idempotency-Key, Last-Event-ID";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    response
}

/// Our own origin, or one that the configuration names. Compared whole, so that no suffix or prefix passes.
fn is_allowed(origin: &HeaderValue, headers: &HeaderMap, configured: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let own = host(headers).is_some_and(|host| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    own || configured.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether `host`, with or without a port, is a name of the loopback interface.
fn is_loopback(host: &str) -> bool {
    LOOPBACK_HOSTS.iter().any(|name| {
        host.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && matches!(host[name.len()..].strip_prefix(':'), Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()))
            || host.eq_ignore_ascii_case(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: &str, configured: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        let configured: Vec<String> = configured.iter().map(|origin| (*origin).to_owned()).collect();
        is_allowed(&HeaderValue::from_str(origin).unwrap(), &headers, &configured)
    }

    #[test]
    fn only_our_own_and_configured_origins_are_allowed() {
        assert!(allowed("http://localhost:8000", "localhost:8000", &[]));
        assert!(allowed("HTTP://LOCALHOST:8000".to_lowercase().as_str(), "LocalHost:8000", &[]));
        assert!(allowed("https://app.example", "gw.example", &["https://app.example"]));
        assert!(allowed("https://APP.example", "gw.example", &["https://app.example"]), "names of hosts have no case");
        assert!(allowed("https://any.example", "gw.example", &["*"]));
        for foreign in ["null", "http://localhost:8001", "http://evil-localhost:8000", "http://localhost:8000.evil.example", "file://"] {
            assert!(!allowed(foreign, "localhost:8000", &[]), "{foreign}");
        }
        for foreign in [
            "https://evil-app.example",
            "https://app.example.evil",
            "http://app.example",
            "https://app.example:444",
            "null",
            "https://app.example.",
            "",
        ] {
            assert!(!allowed(foreign, "gw.example", &["https://app.example"]), "{foreign}");
        }
    }

    #[test]
    fn a_request_is_local_by_its_host_and_the_origin_of_its_page() {
        for (host, origin, expected) in [
            ("localhost:8000", None, true),
            ("127.0.0.1:8000", Some("http://127.0.0.1:8000"), true),
            ("127.0.0.1:8000", Some("http://127.0.0.1:8010"), false),
            ("127.0.0.1:8000", Some("null"), false),
            ("evil.example", Some("http://evil.example"), false),
            ("evil.example", None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(is_local(&headers), expected, "{host} {origin:?}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }

    #[test]
    fn a_rebound_name_is_not_loopback() {
        for ours in ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"] {
            assert!(is_loopback(ours), "{ours}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "localhost:80x", "127.0.0.11", "::1", "", "é"] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
