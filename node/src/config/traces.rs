//! Pure: the section `[traces]`.

use super::reader::{Reader, text};
use gateway::outbound;
use reqwest::Url;

/// Where a collector takes spans when its URL does not say (OTLP 1.x, "OTLP/HTTP request").
const PATH: &str = "/v1/traces";

/// `[traces]`
#[derive(Clone, Debug)]
pub struct Traces {
    /// `None`: nothing is traced.
    pub endpoint: Option<Url>,
    /// Of requests whose callers have no trace, and of commands of clients, so many are traced: from 0 to 1.
    pub sample: f64,
    /// Spans tell channels and counters.
    pub names: bool,
}

impl Traces {
    pub(super) fn read(reader: &mut Reader) -> Traces {
        let endpoint = reader.read("traces.endpoint", |setting| match text(setting)?.as_str() {
            "" => Ok(None),
            url => endpoint(url).map(Some),
        });
        let endpoint = endpoint.flatten();
        let sample = reader.read("traces.sample", |setting| {
            let whole = || setting.value.as_integer().and_then(|number| u32::try_from(number).ok()).map(f64::from);
            let number = setting.value.as_float().or_else(whole);
            number.filter(|number| (0.0..=1.0).contains(number)).ok_or_else(|| "must be a number from 0 to 1".to_owned())
        });
        let names = reader.flag("traces.names");
        if names && endpoint.as_ref().is_some_and(|url| !outbound::is_trustworthy(url)) {
            reader.refuse("traces.names", format!("needs a traces.endpoint that nobody can listen to: it {}", outbound::TRUSTWORTHY));
        }
        Traces { endpoint, sample: sample.unwrap_or_default(), names }
    }
}

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    let mut url = url.ok_or_else(|| "must be the URL of a collector, such as http://127.0.0.1:4318".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: it is shown by `config print`".to_owned());
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, problems};

    #[test]
    fn nothing_is_traced_by_default_and_a_collector_has_a_path_for_spans() {
        assert!(load("", &[]).unwrap().traces.endpoint.is_none());
        for (said, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/", "https://collector.example/v1/traces"),
            ("http://collector.internal:4318/of/mine", "http://collector.internal:4318/of/mine"),
        ] {
            let traces = load(&format!("[traces]\nendpoint = \"{said}\""), &[]).unwrap().traces;
            assert_eq!((traces.endpoint.unwrap().as_str(), traces.sample, traces.names), (meant, 0.001, false));
        }
        for (text, sample) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0)] {
            assert_eq!(load("", &[("HEADCOUNT_TRACES__SAMPLE", text)]).unwrap().traces.sample, sample);
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_place_key_value_and_reason() {
        let at = |line: u32, text: &str| format!("hc.toml:{line}: traces.{text}");
        for (toml, expected) in [
            ("sample = 1.5", at(2, "sample = 1.5: must be a number from 0 to 1")),
            ("sample = -1", at(2, "sample = -1: must be a number from 0 to 1")),
            ("sample = nan", at(2, "sample = nan: must be a number from 0 to 1")),
            (
                "endpoint = \"127.0.0.1:4318\"",
                at(2, "endpoint = \"127.0.0.1:4318\": must be the URL of a collector, such as http://127.0.0.1:4318"),
            ),
            (
                "endpoint = \"http://ann:pass@a.example\"",
                at(2, "endpoint = \"http://ann:pass@a.example\": must not hold a user or a password: it is shown by `config print`"),
            ),
            (
                "endpoint = \"http://a.example\"\nnames = true",
                at(
                    3,
                    "names = true: needs a traces.endpoint that nobody can listen to: it must begin with https:// (http:// on loopback only)",
                ),
            ),
        ] {
            assert_eq!(problems(&format!("[traces]\n{toml}"), &[]), [expected], "{toml}");
        }
    }
}
