//! The cryptography of TLS: ring's, without what a client that shows no certificate of its own never uses.
//!
//! rustls's ready-made provider holds on to the reading of private keys and to signing with RSA, ECDSA and Ed25519. Here are the same
//! key exchanges, the cipher suites that a machine can use well, and the same signatures of servers but Ed25519, which no public authority may use.

use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::KeyProvider;
use rustls::crypto::SecureRandom;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::DEFAULT_KX_GROUPS;
use rustls::crypto::ring::cipher_suite as suites;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use std::sync::Arc;
use webpki::ring as algorithms;

/// For each configuration of a client.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: DEFAULT_KX_GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &System,
        key_provider: &System,
    }
}

/// All that rustls has. Every x86_64 has instructions for AES and every server knows it, so there ChaCha20, which is for machines without
/// them, would only be 50 kB of vector code.
static SUITES: &[SupportedCipherSuite] = &[
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_AES_128_GCM_SHA256,
    #[cfg(not(target_arch = "x86_64"))]
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    #[cfg(not(target_arch = "x86_64"))]
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    #[cfg(not(target_arch = "x86_64"))]
    suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for System {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("no certificates of clients".to_owned()))
    }
}

/// What servers and authorities may sign with. In TLS 1.2 the curve is not fixed by the scheme, so some have two algorithms; keys of RSA
/// may leave out their parameters, as some authorities do.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithms::RSA_PKCS1_2048_8192_SHA256,
        algorithms::RSA_PKCS1_2048_8192_SHA384,
        algorithms::RSA_PKCS1_2048_8192_SHA512,
        algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[algorithms::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[algorithms::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[algorithms::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    #[test]
    fn all_of_the_ready_made_provider_is_there_but_ed25519_and_on_x86_64_chacha20() {
        let (ours, mut theirs) = (provider(), default_provider());
        let is_chacha20 = |suite: &SupportedCipherSuite| suite.suite().as_str().is_some_and(|name| name.contains("CHACHA20"));
        theirs.cipher_suites.retain(|suite| !(cfg!(target_arch = "x86_64") && is_chacha20(suite)));
        assert_eq!(ours.cipher_suites.len(), if cfg!(target_arch = "x86_64") { 6 } else { 9 });
        assert_eq!(ours.cipher_suites, theirs.cipher_suites);
        let groups = |provider: &CryptoProvider| provider.kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>();
        assert_eq!(groups(&ours), groups(&theirs));
        let mut schemes = theirs.signature_verification_algorithms.supported_schemes();
        schemes.retain(|scheme| *scheme != SignatureScheme::ED25519);
        assert_eq!(ours.signature_verification_algorithms.supported_schemes(), schemes);
        let ids = |provider: &CryptoProvider| {
            let all = provider.signature_verification_algorithms.all.iter();
            all.map(|algorithm| (algorithm.public_key_alg_id(), algorithm.signature_alg_id())).collect::<Vec<_>>()
        };
        let mut expected = ids(&theirs);
        expected.retain(|(key, _)| *key != rustls::pki_types::alg_id::ED25519);
        assert_eq!(ids(&ours), expected);
    }

    #[test]
    fn randomness_comes_and_no_private_key_is_taken() {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        assert!(System.fill(&mut first).is_ok() && System.fill(&mut second).is_ok());
        assert_ne!(first, second);
        assert!(System.load_private_key(PrivateKeyDer::Pkcs8(vec![0].into())).is_err());
    }
}
