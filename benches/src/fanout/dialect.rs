//! Pure: what clients say to each kind of server so that they are subscribed, and so that a message is published.

use super::wire::{self, Asking, Header, TEXT};
use core::net::SocketAddr;
use serde_json::json;

/// The languages of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// The client protocol of headcount, as JSON.
    Headcount,
    /// Of the small servers that are here only to compare with: the channel is in the path, `ready` is answered, and
    /// `channel message` is published.
    Plain,
    /// engine.io 4 and socket.io 5, over WebSocket from the beginning.
    SocketIo,
    /// nchan: publications are HTTP requests.
    Nchan,
}

/// A language, and what carries it to subscribers: WebSocket, or server-sent events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) speech: Speech,
    pub(super) is_events: bool,
}

/// How far a client has come that wants to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More must come from the server.
    Waits,
    /// The handshake is done: now send this. What was received up to here has been used.
    Upgraded {
        used: usize,
    },
    Subscribed {
        used: usize,
    },
    Refused(String),
}

impl Dialect {
    /// The request that begins a subscription.
    pub(super) fn request(self, address: SocketAddr, channel: &str, token: &str) -> String {
        let path = match (self.speech, self.is_events) {
            (Speech::Headcount, false) => "/connection/websocket".to_owned(),
            (Speech::Headcount, true) => format!("/v1/events?channel={channel}&token={token}"),
            (Speech::Plain, false) => format!("/ws/{channel}"),
            (Speech::Plain, true) => format!("/events/{channel}"),
            (Speech::SocketIo, _) => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            (Speech::Nchan, _) => format!("/subscribe?channel={channel}"),
        };
        let what = if self.is_events {
            "Accept: text/event-stream\r\n"
        } else {
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        };
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{what}\r\n")
    }

    /// What is said after a WebSocket handshake; empty if the path has said it all.
    pub(super) fn greeting(self, channel: &str, token: &str) -> Vec<u8> {
        let text = match self.speech {
            // In one frame, as the JavaScript SDK does.
            Speech::Headcount => {
                let connect = json!({ "id": 1, "connect": { "token": token } });
                format!("{connect}\n{}", json!({ "id": 2, "subscribe": { "channel": channel } }))
            }
            Speech::SocketIo => format!("40{}", json!({ "channel": channel })),
            Speech::Plain | Speech::Nchan => return Vec::new(),
        };
        text_frame(&text)
    }

    /// What the server's answer to the request comes to, as far as it is there.
    pub(super) fn answered(self, received: &[u8]) -> Progress {
        let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { return Progress::Waits };
        let wanted: &[u8] = if self.is_events { b"HTTP/1.1 200 " } else { b"HTTP/1.1 101 " };
        match received.starts_with(wanted) {
            false => Progress::Refused(String::from_utf8_lossy(received).into_owned()),
            true if self.is_events => Progress::Subscribed { used: end + 4 },
            true => Progress::Upgraded { used: end + 4 },
        }
    }

    /// What the frames behind the handshake come to.
    #[allow(clippy::cast_possible_truncation)] // no longer than what has been received
    pub(super) fn greeted(self, received: &[u8]) -> Progress {
        let ready: &[u8] = match self.speech {
            Speech::Headcount => br#""subscribe":{"#,
            Speech::Plain => b"ready",
            Speech::SocketIo => br#"40{"sid""#,
            Speech::Nchan => return Progress::Subscribed { used: 0 },
        };
        let mut used = 0;
        while let Some(Header { opcode, length, size, .. }) = wire::header(&received[used..]) {
            let Some(payload) = received[used + size..].get(..length as usize) else { break };
            used += size + payload.len();
            let has = |needle| memchr::memmem::find(payload, needle).is_some();
            if opcode == wire::CLOSE || has(br#""error""#) {
                return Progress::Refused(String::from_utf8_lossy(payload).into_owned());
            }
            if has(ready) {
                return Progress::Subscribed { used };
            }
        }
        Progress::Waits
    }

    /// How the server looks after its clients; `None` where there are no frames.
    pub(super) fn asking(self) -> Option<Asking> {
        match self.speech {
            _ if self.is_events => None,
            Speech::Headcount => Some(Asking::Braces),
            Speech::SocketIo => Some(Asking::Two),
            Speech::Plain | Speech::Nchan => Some(Asking::Never),
        }
    }

    /// The same language as a publisher speaks it, which needs WebSocket; not at nchan, where it says nothing first.
    pub(super) fn publishing(self) -> Dialect {
        Dialect { is_events: false, ..self }
    }

    /// A publication, as it goes to the server. `id` is above 2, and grows.
    pub(super) fn publication(self, address: SocketAddr, channel: &str, body: &str, id: u64) -> Vec<u8> {
        let text = match self.speech {
            Speech::Headcount => format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":{body}}}}}"#),
            Speech::Plain => format!("{channel} {body}"),
            Speech::SocketIo => format!(r#"42["publish","{channel}",{body}]"#),
            Speech::Nchan => {
                let head = format!("POST /publish?channel={channel} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json");
                return format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
            }
        };
        text_frame(&text)
    }

    /// Whether the server's answer says that a publication was refused.
    pub(super) fn refuses(self, answer: &[u8]) -> bool {
        let has = |needle| memchr::memmem::find(answer, needle).is_some();
        match self.speech {
            Speech::Nchan => has(b"HTTP/1.1 4") || has(b"HTTP/1.1 5"),
            Speech::Headcount => has(br#""error":"#),
            Speech::Plain | Speech::SocketIo => false,
        }
    }
}

fn text_frame(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    wire::client_frame(TEXT, text.as_bytes(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        wire::server_frame(TEXT, text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn a_client_is_subscribed_once_the_server_says_so_and_not_before() {
        let dialect = Dialect { speech: Speech::Headcount, is_events: false };
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(dialect.answered(&head[..head.len() - 1]), Progress::Waits);
        assert_eq!(dialect.answered(head), Progress::Upgraded { used: head.len() });
        let connected = frame(r#"{"id":1,"connect":{"client":"c"}}"#);
        let subscribed = frame(r#"{"id":2,"subscribe":{"epoch":"e"}}"#);
        let both = [&connected[..], &subscribed, b"\x81"].concat();
        assert_eq!(dialect.greeted(&connected), Progress::Waits);
        assert_eq!(dialect.greeted(&both[..both.len() - 2]), Progress::Waits);
        assert_eq!(dialect.greeted(&both), Progress::Subscribed { used: both.len() - 1 });
        let refused = r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#;
        assert_eq!(dialect.greeted(&[&connected[..], &frame(refused)].concat()), Progress::Refused(refused.to_owned()));
    }

    #[test]
    fn a_request_that_is_not_granted_is_refused_with_what_the_server_said() {
        let dialect = Dialect { speech: Speech::Plain, is_events: true };
        assert_eq!(dialect.answered(b"HTTP/1.1 200 OK\r\n\r\n: hi"), Progress::Subscribed { used: 19 });
        let answer = "HTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(dialect.answered(answer.as_bytes()), Progress::Refused(answer.to_owned()));
    }
}
