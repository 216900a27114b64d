//! Pure: where a customer enters: the URL of a gateway, or of what stands before several.

use axum::http::Uri;

/// Where clients connect unless the URL says otherwise.
const PATH: &str = "/connection/websocket";

/// A gateway's front door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// Path and query.
    pub path: String,
}

impl Door {
    /// Of `http`, `https`, `ws` or `wss` and a host; without a path, that of the WebSocket.
    pub fn parse(text: &str) -> Result<Door, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err("must begin with http://, https://, ws:// or wss://".to_owned()),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a user or a password: clients show a token".to_owned());
        }
        let host = uri.host().map(|host| host.trim_matches(['[', ']']).to_owned()).filter(|host| !host.is_empty()).ok_or("has no host")?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { PATH } else { path }.to_owned();
        Ok(Door { host, port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }), is_tls, path })
    }

    /// What a handshake asks for.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{self}{}", if self.is_tls { "wss" } else { "ws" }, self.path)
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Door { host, port, .. } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_url_with_or_without_a_path() {
        for (text, url) in [
            ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/connection/websocket"),
            ("https://chat.example/", "wss://chat.example:443/connection/websocket"),
            ("wss://chat.example/eu/connection/websocket", "wss://chat.example:443/eu/connection/websocket"),
            ("ws://[::1]:8000", "ws://[::1]:8000/connection/websocket"),
        ] {
            assert_eq!(Door::parse(text).unwrap().url(), url);
        }
        for (text, reason) in [
            ("chat.example", "must begin with"),
            ("ftp://chat.example", "must begin with"),
            ("https://me:secret@chat.example", "must not hold"),
            ("https://a b", "is no URL"),
        ] {
            let error = Door::parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
