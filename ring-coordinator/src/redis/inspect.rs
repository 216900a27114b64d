//! I/O: looking at a node from outside: what it says of itself, how it is set up, and what its user may do. Nothing is written.

use super::{access::Access, end::End, reply::Reply, stream::Stream};
use protocol::time::Clock;
use std::collections::BTreeMap;

/// Settings that are asked for, if the user may ask.
const SETTINGS: [&str; 5] = ["save", "appendonly", "client-output-buffer-limit", "timeout", "stop-writes-on-bgsave-error"];

/// Every command that gateways and coordinators use, scripts' own included, each as it may be tried without being executed.
pub const COMMANDS: &[&str] = &[
    "PING",
    "TIME",
    "INFO",
    "CLIENT SETNAME a",
    "SCRIPT LOAD a",
    "EVALSHA a 1 hc:{0}:meta:a",
    "PUBLISH hc:{0}:pub:a a",
    "PUBSUB NUMSUB hc:{0}:pub:a",
    "SUBSCRIBE hc:{0}:pub:a",
    "UNSUBSCRIBE hc:{0}:pub:a",
    "GET hc:ring",
    "MGET hc:ring hc:probe",
    "SET hc:ring a",
    "EXISTS hc:ring",
    "DEL hc:probe",
    "UNLINK hc:probe",
    "PEXPIRE hc:probe 1",
    "PEXPIREAT hc:probe 1",
    "PTTL hc:probe",
    "SCAN 0",
    "DUMP hc:{0}:meta:a",
    "RESTORE hc:{0}:meta:a 0 a",
    "MEMORY USAGE hc:{0}:meta:a",
    "HSET hc:{0}:meta:a a a",
    "HGET hc:{0}:meta:a a",
    "HMGET hc:{0}:meta:a a",
    "HGETALL hc:{0}:meta:a",
    "HDEL hc:{0}:meta:a a",
    "HLEN hc:{0}:meta:a",
    "HKEYS hc:{0}:meta:a",
    "HSCAN hc:{0}:meta:a 0",
    "HINCRBY hc:{0}:meta:a a 1",
    "SADD hc:{0}:pu:a a",
    "SREM hc:{0}:pu:a a",
    "SCARD hc:{0}:pu:a",
    "SMEMBERS hc:{0}:pu:a",
    "SINTER hc:{0}:pu:a hc:{0}:pb:a",
    "SDIFF hc:{0}:pu:a hc:{0}:pb:a",
    "SUNIONSTORE hc:{0}:pu:a hc:{0}:pb:a",
    "SPOP hc:{0}:pb:a",
    "SSCAN hc:{0}:pu:a 0",
    "ZADD hc:{0}:pz:a 1 a",
    "ZREM hc:{0}:pz:a a",
    "ZSCORE hc:{0}:pz:a a",
    "ZMSCORE hc:{0}:pz:a a",
    "ZREMRANGEBYRANK hc:{0}:pz:a 0 1",
    "ZUNIONSTORE hc:{0}:pz:a 1 hc:{0}:pz:b",
    "XADD hc:{0}:hl:log * a a",
    "XDEL hc:{0}:hl:log 1-0",
    "XLEN hc:{0}:hl:log",
    "XRANGE hc:{0}:hl:log - +",
    "XREVRANGE hc:{0}:hl:log + -",
    "XTRIM hc:{0}:hl:log MAXLEN 0",
];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What `INFO` tells, by key.
    pub info: BTreeMap<String, String>,
    /// What `CONFIG GET` tells of what it was asked for; without what the user may not ask.
    pub settings: BTreeMap<String, String>,
    /// Who we are there; `None` if we may not ask.
    pub user: Option<String>,
    /// Commands of [`COMMANDS`] that the user may not use, each with the node's reason; `None` if we may not ask.
    pub forbidden: Option<Vec<(String, String)>>,
    /// How far the node's wall clock is before ours, in milliseconds; negative if it is behind.
    pub clock_ahead_ms: i64,
    /// How much of that the way there and back may explain.
    pub clock_doubt_ms: u64,
}

/// Looks at the node of this URL. Each of its steps (to connect, to be let in, to ask) has a deadline of a second.
pub async fn inspect(access: &Access, url: &str, clock: Clock) -> Result<Inspection, End> {
    let address = access.address(url).map_err(|error| End::Denied(error.to_string()))?;
    let mut stream = Stream::dial(&address, access).await?;
    if let Some(password) = &access.password {
        let mut auth = redis::cmd("AUTH");
        auth.arg(access.username.as_deref().unwrap_or("default")).arg(password.text());
        refused(&stream.ask(&[auth]).await?[0])?;
    }
    let before = clock();
    let time = stream.ask(&[redis::cmd("TIME")]).await?;
    let after = clock();
    refused(&time[0])?;

    let mut questions = vec![redis::cmd("INFO"), words("ACL WHOAMI")];
    questions.extend(SETTINGS.iter().map(|setting| words(&format!("CONFIG GET {setting}"))));
    let answers = stream.ask(&questions).await?;
    refused(&answers[0])?;
    let user = answers[1].text().map(str::to_owned);
    let settings = answers[2..].iter().filter_map(|answer| {
        let pair = answer.array()?;
        Some((pair.first()?.text()?.to_owned(), pair.get(1)?.text()?.to_owned()))
    });
    let settings = settings.collect();
    let forbidden = match &user {
        Some(user) => forbidden(&mut stream, user).await?,
        None => None,
    };
    let doubt_ms = after.mono_ms.saturating_sub(before.mono_ms);
    let here_ms = i64::try_from(before.wall_ms + doubt_ms / 2).unwrap_or(i64::MAX);
    Ok(Inspection {
        info: info(answers[0].text().unwrap_or_default()),
        settings,
        user,
        forbidden,
        clock_ahead_ms: time_ms(&time[0]).map_or(0, |there_ms| there_ms.saturating_sub(here_ms)),
        clock_doubt_ms: doubt_ms,
    })
}

async fn forbidden(stream: &mut Stream, user: &str) -> Result<Option<Vec<(String, String)>>, End> {
    let tries = COMMANDS.iter().map(|command| {
        let mut cmd = redis::cmd("ACL");
        cmd.arg("DRYRUN").arg(user);
        command.split(' ').for_each(|word| _ = cmd.arg(word));
        cmd
    });
    let tries: Vec<redis::Cmd> = tries.collect();
    let answers = stream.ask(&tries).await?;
    if answers.iter().all(|answer| matches!(answer, Reply::Error(_))) {
        // Redis before 7 does not know the question, and few users may ask it.
        return Ok(None);
    }
    let reason = |answer: &Reply| match answer {
        Reply::Bulk(reason) | Reply::Error(reason) => Some(String::from_utf8_lossy(reason).into_owned()),
        _ => None,
    };
    let pairs = COMMANDS.iter().zip(&answers).filter_map(|(command, answer)| Some(((*command).to_owned(), reason(answer)?)));
    Ok(Some(pairs.collect()))
}

fn words(text: &str) -> redis::Cmd {
    let mut words = text.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| _ = cmd.arg(word));
    cmd
}

fn refused(answer: &Reply) -> Result<(), End> {
    match answer {
        Reply::Error(error) if error.starts_with(b"LOADING") => Err(End::Loading),
        Reply::Error(error) => Err(End::Denied(format!("refused: {:.200}", String::from_utf8_lossy(error)))),
        _ => Ok(()),
    }
}

fn info(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Seconds and microseconds since 1970, as two texts.
fn time_ms(reply: &Reply) -> Option<i64> {
    let parts = reply.array()?;
    let number = |at: usize| parts.get(at)?.text()?.parse::<i64>().ok();
    Some(number(0)? * 1000 + number(1)? / 1000)
}
