//! Pure: the messages of the client protocol, each once, in both of its forms.
//!
//! The table below reads like the published schema (package `centrifugal.centrifuge.protocol`, version 2): a field's
//! name is its JSON key, its number the Protobuf tag. In JSON a zero is left out, except in fields marked `keep`,
//! which SDKs read without asking; `null` reads as zero (but as `null` in a payload); unknown fields are ignored in both
//! forms. A message is an object and nothing else.

use crate::payload;
use crate::schema::{is_zero, messages, null_is_zero};
use crate::subscriptions::Subscriptions;
use bytes::Bytes;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

messages! {
    /// Client to server. With several requests set, the first one in this order counts.
    Command {
        u32 id = 1;
        one ConnectRequest connect = 4;
        one SubscribeRequest subscribe = 5;
        one UnsubscribeRequest unsubscribe = 6;
        one PublishRequest publish = 7;
        one PresenceRequest presence = 8;
        one PresenceStatsRequest presence_stats = 9;
        one HistoryRequest history = 10;
        one PingRequest ping = 11;
        one SendRequest send = 12;
        one RpcRequest rpc = 13;
        one RefreshRequest refresh = 14;
        one SubRefreshRequest sub_refresh = 15;
    }
    /// Server to client: the answer to the command with the same id, or a push. Empty, it is a ping.
    Reply {
        u32 id = 1;
        one Error error = 2;
        one Push push = 4;
        one ConnectResult connect = 5;
        one SubscribeResult subscribe = 6;
        one UnsubscribeResult unsubscribe = 7;
        one PublishResult publish = 8;
        one PresenceResult presence = 9;
        one PresenceStatsResult presence_stats = 10;
        one HistoryResult history = 11;
        one PingResult ping = 12;
        one RpcResult rpc = 13;
        one RefreshResult refresh = 14;
        one SubRefreshResult sub_refresh = 15;
    }
    /// What the server says unasked; bare on unidirectional transports.
    Push {
        i64 id = 1;
        string channel = 2;
        one Publication r#pub = 4;
        one Join join = 5;
        one Leave leave = 6;
        one Unsubscribe unsubscribe = 7;
        one Message message = 8;
        one Subscribe subscribe = 9;
        one Connect connect = 10;
        one Disconnect disconnect = 11;
        one Refresh refresh = 12;
    }
    /// Commands posted beside a reply stream: as they stand in Protobuf, inside a string in JSON.
    EmulationRequest {
        string node = 1;
        string session = 2;
        payload data = 3;
    }
    /// Why a command was refused; see [`crate::code::ErrorCode`].
    Error {
        u32 code = 1;
        string message = 2;
        bool temporary = 3;
    }
    /// One member's identity.
    ClientInfo {
        keep string user = 1;
        keep string client = 2;
        payload conn_info = 3;
        payload chan_info = 4;
    }
    /// One published message. `time` is milliseconds since 1970. `region` (not of the published schema) is where it was published, if
    /// that was another region.
    Publication {
        payload data = 4;
        one ClientInfo info = 5;
        u64 offset = 6;
        map string tags = 7;
        bool delta = 8;
        i64 time = 9;
        string channel = 10;
        string key = 11;
        bool removed = 12;
        sint64 score = 13;
        string epoch = 14;
        payload prev_data = 15;
        u64 version = 16;
        string region = 101;
    }
    /// A user's first client entered the channel.
    Join { one ClientInfo info = 1; }
    /// A user's last client left the channel.
    Leave { one ClientInfo info = 1; }
    /// The server ended a subscription; see [`crate::code::UnsubscribeCode`].
    Unsubscribe {
        u32 code = 2;
        string reason = 3;
    }
    /// The server began a subscription.
    Subscribe {
        bool recoverable = 1;
        string epoch = 4;
        u64 offset = 5;
        bool positioned = 6;
        payload data = 7;
    }
    /// A message to one client, outside all channels.
    Message { payload data = 1; }
    /// The first push of unidirectional transports.
    Connect {
        string client = 1;
        string version = 2;
        payload data = 3;
        subscriptions subs = 4;
        bool expires = 5;
        u32 ttl = 6;
        u32 ping = 7;
        bool pong = 8;
        string session = 9;
        string node = 10;
        i64 time = 11;
    }
    /// Why the stream ends; see [`crate::code::Disconnect`].
    Disconnect {
        u32 code = 1;
        string reason = 2;
        bool reconnect = 3;
    }
    /// The connection's new lifetime.
    Refresh {
        bool expires = 1;
        u32 ttl = 2;
    }
    /// A place in a channel's stream.
    StreamPosition {
        u64 offset = 1;
        string epoch = 2;
    }
    /// A tag filter. Headcount refuses subscriptions that carry one.
    FilterNode {
        string op = 1;
        string key = 2;
        string cmp = 3;
        string val = 4;
        many string vals = 5;
        many FilterNode nodes = 6;
    }
    /// The first command of a connection.
    ConnectRequest {
        string token = 1;
        payload data = 2;
        map SubscribeRequest subs = 3;
        string name = 4;
        string version = 5;
        map string headers = 6;
        i64 flag = 7;
    }
    /// `ttl` and `ping` are seconds, `time` milliseconds since 1970.
    ConnectResult {
        string client = 1;
        string version = 2;
        bool expires = 3;
        u32 ttl = 4;
        payload data = 5;
        subscriptions subs = 6;
        u32 ping = 7;
        bool pong = 8;
        string session = 9;
        string node = 10;
        i64 time = 11;
        i64 flag = 12;
    }
    /// A new connection token.
    RefreshRequest { string token = 1; }
    /// The connection's new lifetime in seconds.
    RefreshResult {
        string client = 1;
        string version = 2;
        bool expires = 3;
        u32 ttl = 4;
    }
    /// `type` 0 is a stream; the other kinds are declined.
    SubscribeRequest {
        string channel = 1;
        string token = 2;
        bool recover = 3;
        string epoch = 6;
        u64 offset = 7;
        payload data = 8;
        bool positioned = 9;
        bool recoverable = 10;
        bool join_leave = 11;
        string delta = 12;
        one FilterNode tf = 13;
        i64 flag = 14;
        i32 r#type = 15;
        i32 phase = 16;
        string cursor = 17;
        i32 limit = 18;
        bool asc = 19;
    }
    /// `ttl` is seconds. With `recovered`, `offset` is the asked position and `publications` what follows it.
    SubscribeResult {
        bool expires = 1;
        u32 ttl = 2;
        bool recoverable = 3;
        string epoch = 6;
        many Publication publications = 7;
        bool recovered = 8;
        u64 offset = 9;
        bool positioned = 10;
        payload data = 11;
        bool was_recovering = 12;
        bool delta = 13;
        i64 id = 14;
    }
    /// A new subscription token.
    SubRefreshRequest {
        string channel = 1;
        string token = 2;
        i32 r#type = 3;
    }
    /// The subscription's new lifetime in seconds.
    SubRefreshResult {
        bool expires = 1;
        u32 ttl = 2;
    }
    /// Ends a subscription.
    UnsubscribeRequest { string channel = 1; }
    /// Empty, and present.
    UnsubscribeResult {}
    /// Publishes into a channel; `type` 1 (map) is declined.
    PublishRequest {
        string channel = 1;
        payload data = 2;
        i32 r#type = 3;
        string key = 4;
        bool removed = 5;
    }
    /// Empty, and present.
    PublishResult {}
    /// Who is in a channel.
    PresenceRequest { string channel = 1; }
    /// By client id.
    PresenceResult { map keep ClientInfo presence = 1; }
    /// How many are in a channel.
    PresenceStatsRequest { string channel = 1; }
    /// Exact counts.
    PresenceStatsResult {
        keep u32 num_clients = 1;
        keep u32 num_users = 2;
    }
    /// `limit` 0 asks for the position only, -1 for all; `since` is exclusive.
    HistoryRequest {
        string channel = 1;
        i32 limit = 7;
        one StreamPosition since = 8;
        bool reverse = 9;
    }
    /// `offset` and `epoch` are the stream's top.
    HistoryResult {
        many keep Publication publications = 1;
        keep string epoch = 2;
        keep u64 offset = 3;
    }
    /// Clients do not ping in this version; answered with error 108.
    PingRequest {}
    /// Never sent.
    PingResult {}
    /// A message without a reply.
    SendRequest { payload data = 1; }
    /// A call of one of the server's methods.
    RpcRequest {
        payload data = 1;
        string method = 2;
    }
    /// What the method returned.
    RpcResult { payload data = 1; }
}
