//! Pure: what to think of certificates: those of files, and those that other ends show.

use super::finding::Finding;

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Days before the end from which on it is told, and from which on it fails.
const WARN_DAYS: u64 = 30;
const FAIL_DAYS: u64 = 1;

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its key in the configuration, such as `tls.cert`.
    pub key: String,
    /// Its path.
    pub path: String,
    /// Its certificates in their order, or why it has none.
    pub certificates: Result<Vec<Certificate>, String>,
    /// What is wrong with it beside its dates: a key that does not fit, peers that would refuse it.
    pub doubt: Option<String>,
}

/// Of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// From when on it is valid, in seconds since 1970.
    pub from_s: u64,
    /// Until when it is valid, in seconds since 1970.
    pub until_s: u64,
}

/// Judges one file at `now_s`, in seconds since 1970.
#[must_use]
pub fn judge(file: &File, now_s: u64) -> Finding {
    const ID: &str = "certificate";
    let File { key, path, .. } = file;
    let renew = format!("renew the certificate in {path}, and restart the node");
    let certificates = match &file.certificates {
        Ok(certificates) => certificates,
        Err(reason) => return Finding::fail(ID, key, format!("{path}: {reason}"), "name a PEM file that the node's user may read"),
    };
    // A chain is good for as long as the first of it that ends; of authorities, each for itself.
    let Some(first) = certificates.iter().min_by_key(|certificate| certificate.until_s) else {
        return Finding::fail(ID, key, format!("{path} has no certificate"), "name a PEM file with one");
    };
    if let Some(early) = certificates.iter().find(|certificate| certificate.from_s > now_s) {
        let told = format!(
            "{path}: {} is valid only in {} days, if this host's clock is right",
            early.subject,
            (early.from_s - now_s).div_ceil(DAY_S)
        );
        return Finding::fail(ID, key, told, "check the clock (`timedatectl`), or take the certificate that is valid now");
    }
    let left_s = first.until_s.saturating_sub(now_s);
    let days = left_s / DAY_S;
    let told = if left_s == 0 {
        format!("{path}: {} has expired {} days ago", first.subject, (now_s - first.until_s) / DAY_S)
    } else {
        format!("{path}: {} is valid for {days} more days", first.subject)
    };
    if left_s < FAIL_DAYS * DAY_S {
        return Finding::fail(ID, key, told, renew);
    }
    if let Some(doubt) = &file.doubt {
        let advice = "take a certificate and a key that belong together, of the authority that others believe, for the name that they dial";
        return Finding::fail(ID, key, format!("{path}: {doubt}"), advice);
    }
    if days < WARN_DAYS { Finding::warn(ID, key, told, renew) } else { Finding::ok(ID, key, told) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    const NOW_S: u64 = 1_800_000_000;

    fn until(days: i64) -> Certificate {
        let until_s = NOW_S.checked_add_signed(days * 86_400).unwrap();
        Certificate { subject: "CN=a".into(), from_s: 1_700_000_000, until_s }
    }

    #[test]
    fn the_first_that_ends_decides() {
        for (certificates, status, words) in [
            (vec![until(400), until(90)], Status::Ok, "90 more days"),
            (vec![until(30)], Status::Ok, "30 more days"),
            (vec![until(400), until(29)], Status::Warn, "29 more days"),
            (vec![until(1)], Status::Warn, "1 more days"),
            (vec![Certificate { until_s: NOW_S + 86_399, ..until(0) }], Status::Fail, "0 more days"),
            (vec![until(400), until(-3)], Status::Fail, "expired 3 days ago"),
            (vec![Certificate { from_s: NOW_S + 86_401, ..until(90) }], Status::Fail, "only in 2 days"),
            (vec![], Status::Fail, "no certificate"),
        ] {
            let file = File { key: "tls.cert".into(), path: "c.pem".into(), certificates: Ok(certificates), doubt: None };
            let finding = judge(&file, NOW_S);
            assert!(finding.status == status && finding.found.contains(words), "{finding}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_and_one_that_others_refuse_fail() {
        let file = File { key: "tls.cert".into(), path: "c.pem".into(), certificates: Err("not found".into()), doubt: None };
        assert_eq!(judge(&file, NOW_S).status, Status::Fail);
        let file = File { certificates: Ok(vec![until(90)]), doubt: Some("the key does not fit".into()), ..file };
        let finding = judge(&file, NOW_S);
        assert!(finding.status == Status::Fail && finding.found.contains("does not fit"), "{finding}");
    }
}
