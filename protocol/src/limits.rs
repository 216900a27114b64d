//! Pure: bounds that belong to the contract with clients. Each names what happens at it.
//! Bounds that an operator may move are keys under `[limits]` in the configuration; these are their defaults.

/// Bytes in a channel name or counter key; longer ones are refused with error 107.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes in one client message or request body; more closes the connection (1009, or HTTP 413).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Channels one client may be subscribed to; one more is refused with error 106.
pub const CHANNELS_PER_CLIENT_MAX: usize = 128;
/// Bytes queued for one client that does not read; more closes it with 3008.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Publications returned by one history call or recovered by one subscribe; a longer gap is `recovered: false`.
pub const HISTORY_PAGE_MAX: usize = 300;
/// Bytes of `conn_info` or `chan_info` of one member; more is refused with error 107.
pub const MEMBER_INFO_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a member's status in a channel, as JSON; more is refused with error 106.
pub const STATUS_BYTES_MAX: usize = 1024;
/// Calls of `presence.status` and `presence.visibility` together, per second and connection, and at once after a pause; more is
/// refused with error 111.
pub const APPEARANCES_PER_SECOND_MAX: u32 = 10;
/// Bytes of a user id; a longer one is refused like a bad token.
pub const USER_BYTES_MAX: usize = 255;
/// Bytes of a client's `name` and `version` fields (16 and 64 in the published schema); longer is refused with 3501.
pub const CLIENT_NAME_BYTES_MAX: usize = 16;
/// See [`CLIENT_NAME_BYTES_MAX`].
pub const CLIENT_VERSION_BYTES_MAX: usize = 64;
/// Members in the first page of a roster and in one page after it, unless a smaller limit is asked for.
pub const ROSTER_PAGE_MAX: usize = 1000;
/// Users in one `POST /v1/presence/query` or `presence.online`; more is refused.
pub const USERS_PER_QUERY_MAX: usize = 500;
/// Contacts of one user that are watched live; a longer list is refused.
pub const CONTACTS_MAX: usize = 500;
/// Operations in one `POST /v1/counters/batch`, and keys in one read; more is refused.
pub const COUNTER_BATCH_MAX: usize = 10_000;
/// Keys in one `counter.get` or `GET /v1/counters?keys=`; more is refused.
pub const COUNTER_KEYS_PER_READ_MAX: usize = 1_000;
/// Voters in one page of `GET /v1/counters/{key}/voters`, unless a smaller limit is asked for.
pub const VOTERS_PER_PAGE_MAX: usize = 1_000;
/// Counters in one page of the change feed, unless a smaller limit is asked for.
pub const CHANGES_PER_PAGE_MAX: usize = 5_000;
/// Bytes of a close reason: a WebSocket close frame holds 125 bytes, two of them the code (RFC 6455, 5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;
