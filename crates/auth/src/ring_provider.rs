//! The arithmetic of signatures for the crate `jsonwebtoken`: *ring*'s, which TLS uses too.
//!
//! It knows RS256, ES256, EdDSA and HS256, and no other algorithm. A key and an algorithm that do not belong together
//! are refused here once more, after `verifier`.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ring::{error, hmac};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        let algorithm = checked(*algorithm, key.family().algorithms())?;
        Ok(Box::new(Signing { algorithm, key: key.clone() }))
    },
    verifier_factory: |algorithm, key| {
        let algorithm = checked(*algorithm, key.family().algorithms())?;
        Ok(Box::new(Verifying { algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the process's provider. A program may have installed another one before, which is as good.
pub(crate) fn install() {
    let _ = PROVIDER.install_default();
}

/// Checks that a key of a family is for this algorithm, and that it is one of ours.
fn checked(algorithm: Algorithm, of_family: &[Algorithm]) -> Result<Algorithm> {
    let is_ours =
        matches!(algorithm, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA);
    match is_ours && of_family.contains(&algorithm) {
        true => Ok(algorithm),
        false => Err(new_error(ErrorKind::InvalidAlgorithm)),
    }
}

struct Verifying {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let is_valid = match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature)
            }
            (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, signature)
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            _ => Err(error::Unspecified),
        };
        is_valid.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct Signing {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let (key, random) = (self.key.as_bytes(), SystemRandom::new());
        match self.algorithm {
            Algorithm::HS256 => {
                Ok(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec())
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_der(key).map_err(|_| Error::new())?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| Error::new())?;
                Ok(signature)
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random);
                let signed = pair.map_err(|_| Error::new())?.sign(&random, message);
                Ok(signed.map_err(|_| Error::new())?.as_ref().to_vec())
            }
            Algorithm::EdDSA => {
                // OpenSSL writes no public key into the file, with which it could be compared.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| Error::new())?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            _ => Err(Error::new()),
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
