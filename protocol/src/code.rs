//! Pure: every code a client can meet: errors in replies, disconnects, unsubscribes.
//! Source: the published Centrifuge client protocol, version 2. Clients decide by the code alone whether to come back.

use crate::message;

/// Why a command was refused. The connection stays, except where a [`Disconnect`] says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Something failed on our side; whether state changed is unknown; retry.
    Internal,
    /// The caller is nobody we know.
    Unauthorized,
    /// The channel's namespace is not configured.
    UnknownChannel,
    /// The caller may not do this.
    PermissionDenied,
    /// No such method.
    MethodNotFound,
    /// The client is subscribed to this channel.
    AlreadySubscribed,
    /// A bound was met.
    LimitExceeded,
    /// The request is malformed.
    BadRequest,
    /// The namespace does not offer this.
    NotAvailable,
    /// The token has expired: fetch a new one and retry.
    TokenExpired,
    /// What was asked for has expired.
    Expired,
    /// Too fast: retry later.
    TooManyRequests,
    /// The asked position cannot be recovered: load the state anew.
    UnrecoverablePosition,
    /// Another page is being read on this connection.
    ConcurrentPagination,
    /// A counter's value or entry would leave its range; nothing changed.
    CounterOverflow,
    /// Storage cannot be read or written for now, or has not said whether it took a write; retry, a write with the same token.
    Storage,
    /// There is not enough to be taken from a bounded counter here; nothing changed. If there is enough elsewhere a retry may help.
    Insufficient,
}

impl ErrorCode {
    /// Every code, for tables and tests.
    pub const ALL: [ErrorCode; 17] = [
        ErrorCode::Internal,
        ErrorCode::Unauthorized,
        ErrorCode::UnknownChannel,
        ErrorCode::PermissionDenied,
        ErrorCode::MethodNotFound,
        ErrorCode::AlreadySubscribed,
        ErrorCode::LimitExceeded,
        ErrorCode::BadRequest,
        ErrorCode::NotAvailable,
        ErrorCode::TokenExpired,
        ErrorCode::Expired,
        ErrorCode::TooManyRequests,
        ErrorCode::UnrecoverablePosition,
        ErrorCode::ConcurrentPagination,
        ErrorCode::CounterOverflow,
        ErrorCode::Storage,
        ErrorCode::Insufficient,
    ];

    /// The number, the text and whether a retry may help.
    #[must_use]
    pub const fn parts(self) -> (u32, &'static str, bool) {
        match self {
            ErrorCode::Internal => (100, "internal server error", true),
            ErrorCode::Unauthorized => (101, "unauthorized", false),
            ErrorCode::UnknownChannel => (102, "unknown channel", false),
            ErrorCode::PermissionDenied => (103, "permission denied", false),
            ErrorCode::MethodNotFound => (104, "method not found", false),
            ErrorCode::AlreadySubscribed => (105, "already subscribed", false),
            ErrorCode::LimitExceeded => (106, "limit exceeded", false),
            ErrorCode::BadRequest => (107, "bad request", false),
            ErrorCode::NotAvailable => (108, "not available", false),
            ErrorCode::TokenExpired => (109, "token expired", false),
            ErrorCode::Expired => (110, "expired", false),
            ErrorCode::TooManyRequests => (111, "too many requests", true),
            ErrorCode::UnrecoverablePosition => (112, "unrecoverable position", false),
            ErrorCode::ConcurrentPagination => (113, "concurrent pagination", true),
            // 400–1999 belong to the application; these are Headcount's own.
            ErrorCode::CounterOverflow => (400, "counter overflow", false),
            ErrorCode::Storage => (401, "storage unavailable", true),
            ErrorCode::Insufficient => (402, "insufficient", true),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.parts().0
    }

    /// The code whose number is `number`.
    #[must_use]
    pub fn from_number(number: u32) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The code as the message that replies carry.
    #[must_use]
    pub fn to_message(self) -> message::Error {
        let (code, text, temporary) = self.parts();
        message::Error { code, message: text.to_owned(), temporary }
    }
}

/// Why a connection is closed: the WebSocket close code and reason, or a disconnect push on the other transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disconnect {
    /// An ordinary end that invites the client back.
    ConnectionClosed,
    /// The server is going away.
    Shutdown,
    /// Something failed on our side.
    InternalServerError,
    /// The connection token ran out and was not refreshed in time.
    ConnectionExpired,
    /// A subscription token ran out and was not refreshed in time.
    SubscriptionExpired,
    /// The client read too slowly and its queue was full.
    Slow,
    /// Writing to the client failed.
    WriteError,
    /// The client's position in a stream is no longer sure.
    InsufficientState,
    /// An operator asks the client to come back.
    ForceReconnect,
    /// The client did not answer a ping.
    NoPong,
    /// Too many requests.
    TooManyRequests,
    /// Tokens and positions are void: start over.
    StateInvalidated,
    /// The token is not valid.
    InvalidToken,
    /// The client broke the protocol.
    BadRequest,
    /// The client did not authenticate in time.
    Stale,
    /// An operator or service sent the client away.
    ForceDisconnect,
    /// Too many connections.
    ConnectionLimit,
    /// Too many channels.
    ChannelLimit,
    /// The transport does not fit the request.
    InappropriateProtocol,
    /// The client may not do this.
    PermissionDenied,
    /// The server does not offer this.
    NotAvailable,
    /// Too many errors.
    TooManyErrors,
}

impl Disconnect {
    /// Every code, for tables and tests.
    pub const ALL: [Disconnect; 22] = [
        Disconnect::ConnectionClosed,
        Disconnect::Shutdown,
        Disconnect::InternalServerError,
        Disconnect::ConnectionExpired,
        Disconnect::SubscriptionExpired,
        Disconnect::Slow,
        Disconnect::WriteError,
        Disconnect::InsufficientState,
        Disconnect::ForceReconnect,
        Disconnect::NoPong,
        Disconnect::TooManyRequests,
        Disconnect::StateInvalidated,
        Disconnect::InvalidToken,
        Disconnect::BadRequest,
        Disconnect::Stale,
        Disconnect::ForceDisconnect,
        Disconnect::ConnectionLimit,
        Disconnect::ChannelLimit,
        Disconnect::InappropriateProtocol,
        Disconnect::PermissionDenied,
        Disconnect::NotAvailable,
        Disconnect::TooManyErrors,
    ];

    /// The number and the reason.
    #[must_use]
    pub const fn parts(self) -> (u16, &'static str) {
        match self {
            Disconnect::ConnectionClosed => (3000, "connection closed"),
            Disconnect::Shutdown => (3001, "shutdown"),
            Disconnect::InternalServerError => (3004, "internal server error"),
            Disconnect::ConnectionExpired => (3005, "connection expired"),
            Disconnect::SubscriptionExpired => (3006, "subscription expired"),
            Disconnect::Slow => (3008, "slow"),
            Disconnect::WriteError => (3009, "write error"),
            Disconnect::InsufficientState => (3010, "insufficient state"),
            Disconnect::ForceReconnect => (3011, "force reconnect"),
            Disconnect::NoPong => (3012, "no pong"),
            Disconnect::TooManyRequests => (3013, "too many requests"),
            Disconnect::StateInvalidated => (3014, "state invalidated"),
            Disconnect::InvalidToken => (3500, "invalid token"),
            Disconnect::BadRequest => (3501, "bad request"),
            Disconnect::Stale => (3502, "stale"),
            Disconnect::ForceDisconnect => (3503, "force disconnect"),
            Disconnect::ConnectionLimit => (3504, "connection limit"),
            Disconnect::ChannelLimit => (3505, "channel limit"),
            Disconnect::InappropriateProtocol => (3506, "inappropriate protocol"),
            Disconnect::PermissionDenied => (3507, "permission denied"),
            Disconnect::NotAvailable => (3508, "not available"),
            Disconnect::TooManyErrors => (3509, "too many errors"),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.parts().0
    }

    /// The code whose number is `number`.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Disconnect> {
        Disconnect::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether a client that meets this code comes back by itself.
    #[must_use]
    pub const fn reconnects(self) -> bool {
        matches!(self.number(), 3000..=3499 | 4000..=4499 | 5000..)
    }

    /// The code as the push that transports without close frames carry.
    #[must_use]
    pub fn to_message(self) -> message::Disconnect {
        let (code, reason) = self.parts();
        message::Disconnect { code: code.into(), reason: reason.to_owned(), reconnect: self.reconnects() }
    }
}

/// Why the server ended one subscription: below 2500 for good, from 2500 on the client subscribes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnsubscribeCode {
    /// A service unsubscribed the client.
    Server,
    /// The client's position in the stream is no longer sure.
    InsufficientState,
    /// The subscription token ran out.
    Expired,
    /// Token and position are void: start over.
    StateInvalidated,
}

impl UnsubscribeCode {
    /// The number and the reason.
    #[must_use]
    pub const fn parts(self) -> (u32, &'static str) {
        match self {
            UnsubscribeCode::Server => (2000, "server unsubscribe"),
            UnsubscribeCode::InsufficientState => (2500, "insufficient state"),
            UnsubscribeCode::Expired => (2501, "subscription expired"),
            UnsubscribeCode::StateInvalidated => (2502, "state invalidated"),
        }
    }

    /// The code as a push.
    #[must_use]
    pub fn to_message(self) -> message::Unsubscribe {
        let (code, reason) = self.parts();
        message::Unsubscribe { code, reason: reason.to_owned() }
    }
}
