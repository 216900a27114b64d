//! I/O: the first words on a connection: who we are, and what answers.

use super::{Script, access::Access, end::End, reply::Reply, stream::Stream};

/// Connects, is let in, asks what process it is and whether it serves, and tells it our scripts. Returns its `run_id`.
pub(super) async fn greet(access: &Access, url: &str, name: &str, scripts: &[Script]) -> Result<(Stream, String), End> {
    let address = access.address(url).map_err(|error| End::Denied(error.to_string()))?;
    let mut stream = Stream::dial(&address, access).await?;
    if let Some(password) = &access.password {
        let mut auth = redis::cmd("AUTH");
        auth.arg(access.username.as_deref().unwrap_or("default")).arg(password.text());
        match stream.ask(&[auth]).await?.first() {
            Some(Reply::Error(error)) => return Err(refused(error)),
            _ => tracing::trace!(url, "redis: let in"),
        }
    }
    let mut words = vec![redis::cmd("INFO"), redis::cmd("CLIENT")];
    words[1].arg("SETNAME").arg(name);
    for script in scripts {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.code());
        words.push(load);
    }
    let replies = stream.ask(&words).await?;
    let run_id = read_info(&replies[0])?;
    // Without the right to a name one is served all the same; without that to its scripts one is not.
    match replies.iter().skip(2).find_map(|reply| if let Reply::Error(error) = reply { Some(error) } else { None }) {
        Some(error) => Err(refused(error)),
        None => Ok((stream, run_id)),
    }
}

fn read_info(info: &Reply) -> Result<String, End> {
    let text = match info {
        Reply::Error(error) => return Err(refused(error)),
        info => info.text().unwrap_or_default(),
    };
    let of = |key: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(key)?.strip_prefix(':'));
    match (of("run_id"), of("loading"), of("role")) {
        (_, Some("1"), _) => Err(End::Loading),
        (_, _, Some("slave")) => Err(End::Replica),
        (Some(run_id), _, _) => Ok(run_id.to_owned()),
        _ => Err(End::Nonsense("INFO without run_id: is it Redis?".to_owned())),
    }
}

/// Why one is not let in.
fn refused(error: &[u8]) -> End {
    let error = String::from_utf8_lossy(error);
    if error.starts_with("LOADING") { End::Loading } else { End::Denied(format!("refused: {error:.200}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_read_from_its_info() {
        let read = |text: &'static str| read_info(&Reply::Bulk(text.into()));
        assert_eq!(read("# Server\r\nrun_id:ab12\r\nloading:0\r\nrole:master\r\n"), Ok("ab12".to_owned()));
        assert_eq!(read("run_id:ab12\r\nloading:1\r\nrole:master\r\n"), Err(End::Loading));
        assert_eq!(read("run_id:ab12\r\nloading:0\r\nrole:slave\r\n"), Err(End::Replica));
        assert!(matches!(read("hello"), Err(End::Nonsense(_))));
        let noauth = Reply::Error("NOAUTH Authentication required.".into());
        assert_eq!(read_info(&noauth), Err(End::Denied("refused: NOAUTH Authentication required.".to_owned())));
    }
}
