//! Pure: which database a sink writes to, and which table. No password is ever shown.

use std::{fmt, path::PathBuf, time::Duration};
use tokio_postgres::config::{Host, SslMode};

/// The table that says how far each table has come.
pub const STATE_TABLE: &str = "headcount_sink";
/// Bytes of a table's name, in PostgreSQL (`NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// One sink.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What metrics and the log call it.
    pub name: String,
    /// The database.
    pub target: Target,
    /// PEM text of the authorities that the server's certificate must come from; `None`: those that the system believes.
    pub ca: Option<Vec<u8>>,
    /// The table.
    pub table: TableName,
    /// Whose counters are written, `""` for those without a namespace; empty: of all.
    pub namespaces: Vec<String>,
    /// Pause between two batches.
    pub interval: Duration,
    /// Rows in a batch.
    pub batch: usize,
}

/// A database.
#[derive(Clone)]
pub enum Target {
    /// A server.
    Postgres(Box<tokio_postgres::Config>),
    /// A file.
    Sqlite(PathBuf),
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Postgres(_) => out.write_str("Postgres(…)"),
            Target::Sqlite(path) => write!(out, "Sqlite({})", path.display()),
        }
    }
}

/// A table's name: 1-63 of a-z 0-9 _, no digit first, and not that of the table of states.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName(String);

impl TableName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<TableName, &'static str> {
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len())
            && !text.starts_with(|first: char| first.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        match text {
            STATE_TABLE => Err("is the table that says how far the others have come"),
            _ if is_name => Ok(TableName(text.to_owned())),
            _ => Err("must be 1-63 of a-z 0-9 _, with no digit first"),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Target {
    /// Reads `postgres://…` or `sqlite:PATH`. The reason never quotes the text. Without `sslmode` a server on this machine is talked to
    /// in the clear, and any other over TLS only.
    pub fn parse(text: &str) -> Result<Target, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let is_path = !path.is_empty() && !path.starts_with("//") && !path.starts_with(':');
            return if is_path { Ok(Target::Sqlite(path.into())) } else { Err("must name a file: sqlite:PATH".to_owned()) };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("must be postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH".to_owned());
        }
        let (_, query) = text.split_once('?').unwrap_or((text, ""));
        if query.split('&').any(|pair| pair.starts_with("password=")) {
            return Err("must hold the password before the @, not behind the ?".to_owned());
        }
        let mut config: tokio_postgres::Config = text.parse().map_err(|_| "is no URL of a PostgreSQL server".to_owned())?;
        if config.get_hosts().is_empty() {
            return Err("must name the server: postgres://USER:PASSWORD@HOST/DATABASE".to_owned());
        }
        if !query.split('&').any(|pair| pair.starts_with("sslmode=")) {
            let is_here = config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().iter().all(|addr| addr.is_loopback());
            config.ssl_mode(if is_here { SslMode::Disable } else { SslMode::Require });
        }
        if config.get_application_name().is_none() {
            config.application_name("headcount");
        }
        Ok(Target::Postgres(Box::new(config)))
    }
}

/// A URL as it may be shown: without its password.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // An @ in a password should be escaped, and a / too; what is shown of one that is not must not be a part of it.
    let Some(at) = rest.rfind('@').filter(|at| *at < end || rest[..end].contains(':')) else { return url.to_owned() };
    match rest[..at].split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***{}", &rest[at..]),
        None => url.to_owned(),
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&name.as_str()),
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Target::parse(text).unwrap_err()
    }

    #[test]
    fn a_server_elsewhere_is_talked_to_over_tls_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://ann:pw@127.0.0.1/counts", SslMode::Disable),
            ("postgresql://ann@localhost:5433/counts", SslMode::Disable),
            ("postgres://ann@%2Fvar%2Frun%2Fpostgresql/counts", SslMode::Disable),
            ("postgres://ann:pw@db.example/counts", SslMode::Require),
            ("postgres://ann:pw@127.0.0.1,db.example/counts", SslMode::Require),
            ("postgres://ann:pw@localhost/counts?hostaddr=10.0.0.7", SslMode::Require),
            ("postgres://ann:pw@db.example/counts?sslmode=disable", SslMode::Disable),
            ("postgres://ann:pw@127.0.0.1/counts?sslmode=require", SslMode::Require),
        ] {
            let Target::Postgres(config) = Target::parse(url).unwrap() else { panic!("{url}") };
            assert_eq!((config.get_ssl_mode(), config.get_application_name()), (mode, Some("headcount")), "{url}");
        }
        assert!(matches!(Target::parse("sqlite:/var/lib/counts.db").unwrap(), Target::Sqlite(path) if path == *"/var/lib/counts.db"));
    }

    #[test]
    fn anything_else_is_refused_and_no_reason_and_no_debug_output_has_the_password() {
        for bad in [
            "",
            "mysql://ann:hidden@db",
            "postgres:ann:hidden",
            "postgres://ann:hidden@db?sslmode=perhaps",
            "sqlite:",
            "sqlite::memory:",
            "sqlite://x",
            "postgres://ann@db/x?password=hidden",
            "postgres:///x",
        ] {
            assert!(!refused(bad).contains("hidden"), "{bad}");
        }
        assert!(!format!("{:?}", Target::parse("postgres://ann:hidden@db.example/x").unwrap()).contains("hidden"));
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, expected) in [
            ("postgres://ann:pw@db/x?sslmode=require", "postgres://ann:***@db/x?sslmode=require"),
            ("postgres://ann@db/x", "postgres://ann@db/x"),
            ("postgres://db/x", "postgres://db/x"),
            ("postgres://ann:p/w@db/x", "postgres://ann:***@db/x"),
            ("postgres://ann:p@w@db/x", "postgres://ann:***@db/x"),
            ("postgres://ann:p?w@db/x", "postgres://ann:***@db/x"),
            ("sqlite:/a/b@c.db", "sqlite:/a/b@c.db"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_tables_name_needs_no_quotes() {
        assert_eq!(TableName::parse("headcount_counters").unwrap().as_str(), "headcount_counters");
        for bad in ["", "1a", "A", "a-b", "a.b", "a\"", "ä", STATE_TABLE, &"a".repeat(64)] {
            assert!(TableName::parse(bad).is_err(), "{bad}");
        }
    }
}
