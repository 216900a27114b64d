//! I/O: certificates that are renewed while the node runs: their files are looked at every few seconds, and what has changed there
//! is shown from the next connection on, if it is good. Otherwise the log says so, once for each change, and the old one stays.

use crate::clock;
use peering::{BadCertificate, Certificate, Shown};
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::spawn_blocking;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a certificate is not to be shown, of one that could be; `None`: it may be.
pub type Doubt = Box<dyn Fn(&Certificate) -> Option<String> + Send>;

/// Where the PEM files of a certificate are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// All that are renewed, and what is told of them.
pub struct Certificates {
    watched: Vec<Watched>,
    expiry: GaugeVec,
    renewals: IntCounterVec,
}

struct Watched {
    which: &'static str,
    files: Files,
    shown: Arc<Shown>,
    doubt: Doubt,
    /// What was there at the last look, or why it could not be read.
    last: Result<Contents, String>,
}

/// Of the two files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Certificates {
    /// None yet. An error means that a name is taken.
    pub fn register(registry: &Registry) -> Result<Certificates, prometheus::Error> {
        let expiry = Opts::new("headcount_certificate_expiry_timestamp_seconds", "When a certificate that this node shows ends");
        let renewals = Opts::new("headcount_certificate_renewals_total", "Certificates whose files have changed, by what came of it");
        let (expiry, renewals) = (GaugeVec::new(expiry, &["which"])?, IntCounterVec::new(renewals, &["which", "result"])?);
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(renewals.clone()))?;
        Ok(Certificates { watched: Vec::new(), expiry, renewals })
    }

    /// One more, which is shown already.
    pub fn watch(&mut self, which: &'static str, files: Files, shown: &Arc<Shown>, doubt: Doubt) {
        ["taken", "refused"].iter().for_each(|result| drop(self.renewals.with_label_values(&[which, result])));
        self.tell_expiry(which, &shown.certificate());
        // What is there now may not be what was read at the start: the first look takes it, the same or not.
        let last = Err(String::new());
        self.watched.push(Watched { which, files, shown: Arc::clone(shown), doubt, last });
    }

    /// Looks for ever.
    pub async fn run(mut self) {
        loop {
            for at in 0..self.watched.len() {
                self.look(at).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, at: usize) {
        let files = self.watched[at].files.clone();
        // A file may be on a disk that hangs: it must not hold up what else this thread does.
        let Ok(found) = spawn_blocking(move || files.read()).await else { return };
        let watched = &mut self.watched[at];
        if found == watched.last {
            return;
        }
        watched.last = found;
        let renewed = watched.renewed();
        let Watched { which, shown, .. } = watched;
        match renewed {
            Ok(certificate) if certificate.is_same(&shown.certificate()) => {}
            Ok(certificate) => {
                tracing::info!(which, expires_s = certificate.expires_s(), "a renewed certificate is shown from now on");
                self.renewals.with_label_values(&[which, "taken"]).inc();
                shown.renew(certificate.clone());
                let which = *which;
                self.tell_expiry(which, &certificate);
            }
            Err(reason) => {
                tracing::warn!(which, reason, "a certificate was not renewed: the one before stays");
                self.renewals.with_label_values(&[which, "refused"]).inc();
            }
        }
    }

    fn tell_expiry(&self, which: &str, certificate: &Certificate) {
        #[expect(clippy::cast_precision_loss, reason = "exact for the next hundred million years")]
        self.expiry.with_label_values(&[which]).set(certificate.expires_s() as f64);
    }
}

impl Files {
    fn read(&self) -> Result<Contents, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
        Ok(Contents { cert: read(&self.cert)?, key: read(&self.key)? })
    }
}

impl Watched {
    /// The certificate of the last look, if it may be shown.
    fn renewed(&self) -> Result<Certificate, String> {
        let contents = self.last.as_ref().map_err(Clone::clone)?;
        let certificate = Certificate::from_pem(&contents.cert, &contents.key).map_err(|bad| {
            let file = match bad {
                BadCertificate::Cert(_) => &self.files.cert,
                BadCertificate::Key(_) => &self.files.key,
            };
            format!("{} {bad}", file.display())
        })?;
        if certificate.expires_s() <= clock::now().wall_s() {
            return Err("it has expired".to_owned());
        }
        (self.doubt)(&certificate).map_or(Ok(certificate), Err)
    }
}
