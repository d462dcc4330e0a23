//! Whom to believe: the certificates that are built in and further ones, and how old TLS may be. Set up at the first https request, not
//! before, and then shared by all clients.
//!
//! A certificate is checked against the later of this machine's clock and the date of the release: a board without a clock starts in
//! 1970. Where the clock is behind that date it says nothing about the present, so a certificate that begins later than the release is
//! taken to have begun; that it has not ended before the release is all that can be known.

use crate::sys::clock::Clock;
use crate::sys::net::provider::provider;
use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::client::verify_server_name;
use rustls::crypto;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use rustls::version::TLS12;
use rustls::version::TLS13;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

/// Seconds since 1970 at which this release was made: set for each release, and later where the build says so by `SOURCE_DATE_EPOCH`, so
/// that the same source gives the same program.
const RELEASED: u64 = later(1_793_491_200, option_env!("SOURCE_DATE_EPOCH")); // 2026-11-01

const fn later(date: u64, text: Option<&str>) -> u64 {
    let Some(text) = text else { return date };
    let (mut number, mut at, digits) = (0_u64, 0, text.as_bytes());
    while at < digits.len() && at < 12 && digits[at].is_ascii_digit() {
        number = number * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    if date < number { number } else { date }
}

/// How a chain of certificates may be long.
const CHAIN_MAX: usize = 8;

/// Which servers are believed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Contents of PEM files with certificates that are believed besides those that are built in, each with its name.
    pub further_roots: Vec<(String, Vec<u8>)>,
    /// Any certificate will do.
    pub skip_validation: bool,
    /// Not even TLS 1.2.
    pub only_1_3: bool,
}

/// The settings once they are read, and what becomes of them at the first use.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    further_roots: Vec<CertificateDer<'static>>,
    skip_validation: bool,
    only_1_3: bool,
    config: OnceLock<Result<Arc<ClientConfig>, Error>>,
}

impl Tls {
    /// Reads the certificates. What is none is left out and complained of.
    pub fn new(settings: Settings) -> (Tls, Vec<String>) {
        let mut complaints = Vec::new();
        let mut further_roots = Vec::new();
        for (name, pem) in &settings.further_roots {
            let (mut good, mut bad) = (0, 0);
            let mut store = RootCertStore::empty();
            for item in CertificateDer::pem_slice_iter(pem) {
                match item {
                    Ok(certificate) if store.add(certificate.clone()).is_ok() => {
                        further_roots.push(certificate);
                        good += 1;
                    }
                    _ => bad += 1,
                }
            }
            match (good, bad) {
                (_, 0) if 0 < good => log::debug!("{name}: {good} certificates"),
                (0, _) => complaints
                    .push(format!("{name}: no certificate in PEM form is in it, so it adds none to those that are believed")),
                _ => complaints.push(format!("{name}: {bad} of {} certificates cannot be used", good + bad)),
            }
        }
        let Settings { skip_validation, only_1_3, .. } = settings;
        (Tls { inner: Arc::new(Inner { further_roots, skip_validation, only_1_3, config: OnceLock::new() }) }, complaints)
    }

    /// For a connection.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        self.inner.config.get_or_init(|| self.inner.build().map(Arc::new)).clone()
    }
}

impl Inner {
    fn build(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(provider());
        let versions: &[&rustls::SupportedProtocolVersion] = if self.only_1_3 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in &self.further_roots {
            roots.add(certificate.clone())?;
        }
        let judge = Judge { roots, provider: Arc::clone(&provider), skip: self.skip_validation, clock: Clock::new() };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(judge)).with_no_client_auth())
    }
}

/// Who decides about certificates: rustls's own rules, applied to the right moment. Its ready-made judge would bring 30 KB along for lists
/// of revoked certificates, of which there are none here.
#[derive(Debug)]
struct Judge {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    skip: bool,
    clock: Clock,
}

impl Judge {
    fn verify_at(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        at: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, at, algorithms)?;
        verify_server_name(&certificate, server_name)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.skip {
            return Ok(ServerCertVerified::assertion());
        }
        let (clock, released) = (self.clock.now().unix, Duration::from_secs(RELEASED));
        judge_at(clock, released, |at| self.verify_at(end_entity, intermediates, server_name, at))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.skip {
            return Ok(HandshakeSignatureValid::assertion());
        }
        crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.skip {
            return Ok(HandshakeSignatureValid::assertion());
        }
        crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify` at the moment that counts. Where the clock is known to be behind, the moment moves on to where each certificate begins.
fn judge_at(clock: Duration, released: Duration, verify: impl Fn(UnixTime) -> Result<(), Error>) -> Result<(), Error> {
    let mut moment = UnixTime::since_unix_epoch(clock.max(released));
    let mut verdict = verify(moment);
    for _ in 0..CHAIN_MAX {
        match verdict {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                if clock < released && moment < not_before =>
            {
                moment = not_before;
                verdict = verify(moment);
            }
            other => return other,
        }
    }
    verdict
}

/// What to do about `err`, in words that name the setting.
pub fn describe(err: &Error) -> String {
    let advice = match err {
        Error::AlertReceived(AlertDescription::ProtocolVersion) => "; the server speaks no TLS that min_tls_version allows",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "; tls_cert_file names further ones to believe",
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. }) => {
            "; or is the clock of this machine wrong?"
        }
        _ => "",
    };
    format!("{err}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of one day that begins at `from` seconds.
    fn certificate(from: u64) -> impl Fn(UnixTime) -> Result<(), Error> {
        move |at| match at.as_secs() {
            at if at < from => Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                time: UnixTime::since_unix_epoch(Duration::from_secs(at)),
                not_before: UnixTime::since_unix_epoch(Duration::from_secs(from)),
            })),
            at if from + 86_400 < at => Err(Error::InvalidCertificate(CertificateError::Expired)),
            _ => Ok(()),
        }
    }

    #[track_caller]
    fn check(clock: u64, released: u64, begins: u64, is_believed: bool) {
        let seconds = Duration::from_secs;
        assert_eq!(judge_at(seconds(clock), seconds(released), certificate(begins)).is_ok(), is_believed);
    }

    #[test]
    fn a_clock_that_may_be_right_is_believed() {
        check(2_000_000, 1_000_000, 2_000_000, true);
        check(2_000_000, 1_000_000, 2_000_001, false);
        check(2_000_000, 1_000_000, 1_900_000, false);
    }

    #[test]
    fn a_clock_that_is_behind_the_release_is_not() {
        check(0, 1_000_000, 990_000, true);
        check(0, 1_000_000, 3_000_000, true);
        check(0, 1_000_000, 900_000, false);
    }

    /// The server's certificate of the fixtures, which is of the year 2030, at a machine's time and a release's.
    #[track_caller]
    fn check_2030(clock: u64, released: u64, is_believed: bool) {
        let pem = |text: &[u8]| CertificateDer::from_pem_slice(text).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem(include_bytes!("../../../fixtures/tls/root.pem"))).unwrap();
        let server = pem(include_bytes!("../../../fixtures/tls/server.pem"));
        let provider = Arc::new(provider());
        let judge = Judge { roots, provider, skip: false, clock: Clock::new() };
        let name = ServerName::try_from("intake.test").unwrap();
        let verify = |at| judge.verify_at(&server, &[], &name, at);
        let seconds = Duration::from_secs;
        assert_eq!(judge_at(seconds(clock), seconds(released), verify).is_ok(), is_believed);
    }

    #[test]
    fn a_board_that_starts_in_1970_believes_a_certificate_made_after_its_release() {
        const YEARS: [u64; 3] = [1_767_225_600, 1_893_456_000 + 86_400, 1_956_528_000]; // 2026, in 2030, 2032
        check_2030(0, YEARS[0], true);
        check_2030(YEARS[0] + 1, YEARS[0], false);
        check_2030(YEARS[1], YEARS[0], true);
        check_2030(YEARS[2], YEARS[0], false);
        check_2030(0, YEARS[2], false);
    }

    #[test]
    fn errors_name_what_may_be_done() {
        let too_old = describe(&Error::AlertReceived(AlertDescription::ProtocolVersion));
        assert!(too_old.ends_with("; the server speaks no TLS that min_tls_version allows"), "{too_old}");
        let unknown = describe(&Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(unknown.ends_with("; tls_cert_file names further ones to believe"), "{unknown}");
    }

    #[test]
    fn the_later_of_both_dates_of_the_release_counts() {
        assert_eq!([later(5, None), later(5, Some("7")), later(5, Some("3")), later(5, Some("x"))], [5, 7, 5, 5]);
    }

    #[test]
    fn what_is_no_certificate_is_complained_of() {
        let of =
            |pem: &[u8]| Tls::new(Settings { further_roots: vec![("f".to_owned(), pem.to_vec())], ..Settings::default() }).1;
        let nothing = "f: no certificate in PEM form is in it, so it adds none to those that are believed";
        assert_eq!(
            [of(b""), of(b"garbage"), of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")].concat(),
            [nothing; 3]
        );
    }

    #[test]
    fn every_set_of_settings_gives_a_configuration() {
        for (skip_validation, only_1_3) in [(false, false), (true, false), (false, true)] {
            let (tls, complaints) = Tls::new(Settings { skip_validation, only_1_3, ..Settings::default() });
            assert!(tls.config().is_ok() && complaints.is_empty());
        }
    }
}
