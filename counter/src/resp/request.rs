//! Pure: cuts a Redis client's bytes into commands. Requests are arrays of bulk strings, or a line of words as somebody
//! types them into a terminal. The replies use the `redis-protocol` crate; its decoder is not used here because it
//! recurses into nested arrays without a bound, so that 64 KiB of `*1\r\n` end the process.

use protocol::limits::{COUNTER_KEYS_PER_READ_MAX, NAME_BYTES_MAX};

/// Words of one command; more is a protocol error.
pub(crate) const ARGS_MAX: usize = COUNTER_KEYS_PER_READ_MAX + 1;
/// Bytes of one word or inline line; more is a protocol error.
pub(crate) const BULK_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one command; more is a protocol error.
pub(crate) const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// The same three before a client has authenticated.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_BULK_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a `*n` or `$n` line.
const LENGTH_LINE_BYTES_MAX: usize = 32;

/// Why a connection must be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The bytes are no request; the text is Redis's own.
    Protocol(String),
    /// A browser, or something that a browser was tricked into: answer nothing.
    Http,
}

/// Where a parse stands; a request that arrives in pieces is not read twice.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    at: usize,
    missing: usize,
    words: Vec<(usize, usize)>,
}

/// One command: its bytes and where its words stand in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a, 'w> {
    bytes: &'a [u8],
    words: &'w [(usize, usize)],
}

impl<'a> Request<'a, '_> {
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The word at `index`; empty beyond the end.
    pub(crate) fn word(&self, index: usize) -> &'a [u8] {
        self.words.get(index).map_or(&[], |(start, end)| &self.bytes[*start..*end])
    }

    pub(crate) fn words_from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        (index..self.len()).map(|index| self.word(index))
    }

    /// The word at `index` as text, with what is not UTF-8 replaced.
    pub(crate) fn text(&self, index: usize) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.word(index))
    }
}

impl Parser {
    /// Looks for a whole command at the start of `bytes`. Returns its size, after which [`Parser::request`] shows it and
    /// the next call starts anew. `trusted` clients may send larger ones.
    pub(crate) fn parse(&mut self, bytes: &[u8], trusted: bool) -> Result<Option<usize>, Refused> {
        if self.at == 0 {
            self.words.clear();
            match bytes.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(bytes),
            }
            let Some((count, end)) = length_line(bytes, 0, "multibulk")? else { return Ok(None) };
            let most = if trusted { ARGS_MAX } else { STRANGER_ARGS_MAX };
            self.missing = match usize::try_from(count) {
                Ok(count) if count > most && !trusted => return protocol("unauthenticated multibulk length"),
                Ok(count) if count > most => return protocol("invalid multibulk length"),
                Ok(count) => count,
                Err(_) => 0,
            };
            self.at = end;
        }
        while self.missing > 0 {
            let Some(kind) = bytes.get(self.at) else { return Ok(None) };
            if *kind != b'$' {
                return protocol(&format!("expected '$', got '{}'", kind.escape_ascii()));
            }
            let Some((length, start)) = length_line(bytes, self.at, "bulk")? else { return Ok(None) };
            let most = if trusted { BULK_BYTES_MAX } else { STRANGER_BULK_BYTES_MAX };
            let end = match usize::try_from(length) {
                Ok(length) if length <= most => start + length,
                Ok(_) if !trusted => return protocol("unauthenticated bulk length"),
                _ => return protocol("invalid bulk length"),
            };
            if end + 2 > REQUEST_BYTES_MAX {
                return protocol("too big request");
            }
            if bytes.len() < end + 2 {
                return Ok(None);
            }
            self.words.push((start, end));
            self.missing -= 1;
            self.at = end + 2;
        }
        Ok(Some(std::mem::take(&mut self.at)))
    }

    /// The command that [`Parser::parse`] has found in `bytes`.
    pub(crate) fn request<'a>(&self, bytes: &'a [u8]) -> Request<'a, '_> {
        Request { bytes, words: &self.words }
    }

    fn inline(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        let window = &bytes[..bytes.len().min(BULK_BYTES_MAX)];
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() >= BULK_BYTES_MAX { protocol("too big inline request") } else { Ok(None) };
        };
        if is_http(&bytes[..end]) {
            return Err(Refused::Http);
        }
        let mut start = 0;
        for (at, byte) in bytes[..=end].iter().enumerate() {
            if byte.is_ascii_whitespace() {
                if start < at {
                    self.words.push((start, at));
                }
                start = at + 1;
            }
        }
        if self.words.len() > ARGS_MAX { protocol("invalid multibulk length") } else { Ok(Some(end + 1)) }
    }
}

/// Whether a line belongs to HTTP: a request line or a header field. No command's name ends with a colon, and no inline
/// command has `HTTP/` in it.
fn is_http(line: &[u8]) -> bool {
    let first = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
    first.eq_ignore_ascii_case(b"post") || first.contains(&b':') || line.windows(5).any(|window| window.eq_ignore_ascii_case(b"http/"))
}

/// The number in a `*n\r\n` or `$n\r\n` line at `at`, and where the line ends.
fn length_line(bytes: &[u8], at: usize, what: &str) -> Result<Option<(i64, usize)>, Refused> {
    // Most words are short.
    match bytes.get(at + 1..) {
        Some([digit @ b'1'..=b'9', b'\r', b'\n', ..]) => return Ok(Some(((digit - b'0').into(), at + 4))),
        Some([ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            return Ok(Some((i64::from(ten - b'0') * 10 + i64::from(one - b'0'), at + 5)));
        }
        _ => {}
    }
    let line = &bytes[at + 1..bytes.len().min(at + 1 + LENGTH_LINE_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < LENGTH_LINE_BYTES_MAX { Ok(None) } else { protocol(&format!("too big {what} count string")) };
    };
    match integer(&line[..end]) {
        Some(number) => Ok(Some((number, at + 1 + end + 2))),
        None => protocol(&format!("invalid {what} length")),
    }
}

fn protocol<T>(what: &str) -> Result<T, Refused> {
    Err(Refused::Protocol(format!("ERR Protocol error: {what}")))
}

/// A number as Redis takes it: no plus sign, no leading zeros, no spaces.
pub(crate) fn integer(word: &[u8]) -> Option<i64> {
    if let [digit @ b'0'..=b'9'] = word {
        return Some((digit - b'0').into());
    }
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_canonical = match digits {
        [b'1'..=b'9', ..] => digits.len() <= NAME_BYTES_MAX,
        _ => false,
    };
    is_canonical.then(|| std::str::from_utf8(word).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Vec<String>>, Refused> {
        let (mut parser, mut rest, mut commands) = (Parser::default(), bytes, vec![]);
        while let Some(size) = parser.parse(rest, true)? {
            let request = parser.request(rest);
            commands.push((0..request.len()).map(|at| request.text(at).into_owned()).collect());
            rest = &rest[size..];
        }
        Ok(commands)
    }

    #[test]
    fn commands_come_as_arrays_or_as_lines() {
        let bytes = b"*2\r\n$4\r\nINCR\r\n$5\r\nli\r\ns\r\nGET likes\r\n\r\nPING\n*0\r\n*1\r\n$4\r\nPI";
        assert_eq!(all(bytes).unwrap(), [vec!["INCR", "li\r\ns"], vec!["GET", "likes"], vec![], vec!["PING"], vec![]]);
    }

    #[test]
    fn http_is_recognised_in_every_form_and_no_command_is() {
        for line in [
            "POST / HTTP/1.1",
            "post",
            "GET / HTTP/1.1",
            "Host: x",
            "Host:x",
            "PUT /a HTTP/2",
            "PRI * HTTP/2.0",
            " POST /",
            "x-a: INCR likes",
            "OPTIONS * http/1.1",
        ] {
            assert_eq!(all(format!("{line}\r\nINCR likes\r\n").as_bytes()), Err(Refused::Http), "{line}");
        }
        for line in ["GET likes", "GET chat:likes", "INCR likes", "HC.ADD posts 1", "POSTS"] {
            assert!(all(format!("{line}\r\n").as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_is_no_request_gets_redis_own_words() {
        let long = format!("{}\r\n", "x".repeat(BULK_BYTES_MAX));
        for (bytes, text) in [
            ("*x\r\n", "invalid multibulk length"),
            ("*99999\r\n", "invalid multibulk length"),
            ("*1\r\n*1\r\n", "expected '$', got '*'"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$65537\r\n", "invalid bulk length"),
            ("*1\r\n$+5\r\n", "invalid bulk length"),
            ("*11111111111111111111111111111111111", "too big multibulk count string"),
            (&long, "too big inline request"),
        ] {
            assert_eq!(all(bytes.as_bytes()), Err(Refused::Protocol(format!("ERR Protocol error: {text}"))), "{bytes:.40}");
        }
        let mut parser = Parser::default();
        assert_eq!(parser.parse(b"*11\r\n", false), protocol("unauthenticated multibulk length"));
        let many = format!("*20\r\n{}", format!("$65536\r\n{}\r\n", "x".repeat(65536)).repeat(8));
        assert_eq!(all(many.as_bytes()), protocol("too big request"));
    }

    #[test]
    fn an_integer_is_written_in_one_way_only() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(integer(text.as_bytes()), Some(number));
        }
        for bad in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_command_in_pieces_is_the_same_command(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5), cut in 0..200_usize) {
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
            let mut parser = Parser::default();
            let cut = cut % bytes.len();
            prop_assert_eq!(parser.parse(&bytes[..cut], true), Ok(None));
            prop_assert_eq!(parser.parse(&bytes, true), Ok(Some(bytes.len())));
            let request = parser.request(&bytes);
            prop_assert_eq!(request.words_from(0).map(<[u8]>::to_vec).collect::<Vec<_>>(), words);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..100)) {
            _ = all(&bytes);
        }
    }
}
