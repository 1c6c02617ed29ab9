//! Tests of the verifier: what may pass, and what must not.

use serde_json::{Value as Json, json};

use super::*;
use crate::sign::SigningKey;
use crate::testing::{NOW_S, SECRET, base64url, claims, rules, signed, valid, verifier};

const RSA: &str = include_str!("../testing/rsa.pub.pem");
const EC: &str = include_str!("../testing/ec.pub.pem");
const ED: &str = include_str!("../testing/ed.pub.pem");

fn with_keys(keys: Vec<Key>) -> Verifier {
    Verifier::new(rules(), keys, KeySet::Unused)
}

/// A token that Python and OpenSSL have made: testing/README.md.
fn made_elsewhere(algorithm: &str) -> &'static str {
    let mut lines = include_str!("../testing/tokens.txt").lines();
    lines.find_map(|line| line.strip_prefix(algorithm)?.strip_prefix(' ')).unwrap()
}

/// A token of three parts; a JSON part is encoded.
fn token(header: &Json, claims: &Json, signature: &str) -> String {
    let part = |json: &Json| base64url(json.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn tokens_of_another_implementation_are_taken_for_each_algorithm() {
    for (algorithm, keys) in [
        ("HS256", vec![Key::of_secret(SECRET).unwrap()]),
        ("RS256", Key::of_pem(RSA).unwrap()),
        ("ES256", Key::of_pem(EC).unwrap()),
        ("EdDSA", Key::of_pem(ED).unwrap()),
        ("ES256", Key::of_pem(&[RSA, "# two keys\n", EC].concat()).unwrap()),
    ] {
        let who = with_keys(keys).verify(made_elsewhere(algorithm), NOW_S).unwrap();
        assert_eq!((who.uid.unwrap(), who.expires_at), ("u1".into(), Some(4_000_000_000)), "{algorithm}");
    }
}

#[test]
fn the_examples_of_the_standards_are_taken_with_their_keys() {
    let key_set = json!({"keys": [
        // RFC 7515, appendices A.2 and A.3.
        {"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        // RFC 8037, appendix A.
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ]});
    let keys = Key::of_key_set(key_set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 3);
    let verifier = Verifier::new(rules(), Vec::new(), KeySet::Fetched(keys));
    let claims =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let ecdsa = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{ecdsa}");
    assert_eq!(verifier.verify(&token, 1_300_819_000).unwrap().expires_at, Some(1_300_819_380));
    assert_eq!(verifier.verify(&token, NOW_S), Err(Refusal::Expired));
    // Its payload is no JSON, which is seen when the signature is right.
    let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verifier.verify(eddsa, NOW_S), Err(Refusal::Malformed));
    let forged = eddsa.replace("hgyY", "hgyZ");
    assert_eq!(verifier.verify(&forged, NOW_S), Err(Refusal::Signature));
}

#[test]
fn what_this_crate_signs_it_takes() {
    let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    for (private, public) in [
        (include_str!("../testing/rsa.pem").to_owned(), RSA.to_owned()),
        (ecdsa.serialize_pem(), ecdsa.public_key_pem()),
        (ed25519.serialize_pem(), ed25519.public_key_pem()),
    ] {
        let token = SigningKey::from_pem(&private).unwrap().sign(&valid(), Some("a-name")).unwrap();
        let verifier = with_keys(Key::of_pem(&public).unwrap());
        assert_eq!(verifier.verify(&token, NOW_S).unwrap().uid.unwrap(), "u1");
        let other = with_keys(vec![Key::of_secret(SECRET).unwrap()]);
        assert_eq!(other.verify(&token, NOW_S), Err(Refusal::Algorithm));
    }
}

#[test]
fn a_forged_token_is_refused() {
    let token = signed(&valid());
    let other = SigningKey::hs256("another secret of more than 32 bytes").sign(&valid(), None).unwrap();
    assert_eq!(verifier().verify(&other, NOW_S), Err(Refusal::Signature));
    // The claims of one with the signature of another.
    let parts: Vec<_> = token.split('.').collect();
    let root = base64url(json!({"sub": "root", "exp": NOW_S + 60}).to_string().as_bytes());
    let spliced = format!("{}.{root}.{}", parts[0], parts[2]);
    assert_eq!(verifier().verify(&spliced, NOW_S), Err(Refusal::Signature));
    for cut in [&parts[2][..20], ""] {
        let cut = format!("{}.{}.{cut}", parts[0], parts[1]);
        assert_eq!(verifier().verify(&cut, NOW_S), Err(Refusal::Signature));
    }
}

#[test]
fn a_token_does_not_choose_its_algorithm() {
    let claims = json!({"sub": "root", "exp": NOW_S + 60});
    let with_public_key = with_keys(Key::of_pem(RSA).unwrap());
    // The public key, which everybody has, as the secret of HS256.
    for secret in [RSA, RSA.trim()] {
        let confused = SigningKey::hs256(secret).sign(&valid(), None).unwrap();
        assert_eq!(with_public_key.verify(&confused, NOW_S), Err(Refusal::Algorithm));
    }
    for verifier in [verifier(), with_public_key] {
        for algorithm in ["none", "None", "nOnE", "HS384", "RS512", "PS256", "ES384", "X", ""] {
            for signature in ["", "AAAA"] {
                let token = token(&json!({"alg": algorithm}), &claims, signature);
                assert_eq!(verifier.verify(&token, NOW_S), Err(Refusal::Algorithm), "{algorithm}");
            }
        }
        assert_eq!(verifier.verify(&token(&json!({}), &claims, "AAAA"), NOW_S), Err(Refusal::Algorithm));
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let long = format!("{}.{}.{}", "a".repeat(4000), "b".repeat(4000), "c".repeat(1000));
    let critical = token(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &json!({}), "AAAA");
    for text in ["a", "..", "a.b.c", "e30", "e30.e30", "e30.e30.e30.e30", "\0", "ä.ö.ü", &long, &critical]
    {
        assert_eq!(verifier().verify(text, NOW_S), Err(Refusal::Malformed), "{text}");
    }
    assert_eq!(verifier().verify("", NOW_S), Err(Refusal::Missing));
    let most = claims(json!({"exp": NOW_S + 60, "x": "y".repeat(5900)}));
    assert!(verifier().verify(&signed(&most), NOW_S).is_ok());
}

#[test]
fn a_token_is_taken_in_its_time_and_for_the_leeway_around_it() {
    let token = signed(&claims(json!({"exp": NOW_S, "nbf": NOW_S - 100})));
    for (now_s, expected) in [
        (NOW_S - 111, Some(Refusal::NotYet)),
        (NOW_S - 110, None),
        (NOW_S + 9, None),
        (NOW_S + 10, Some(Refusal::Expired)),
        (u64::MAX, Some(Refusal::Expired)),
    ] {
        assert_eq!(verifier().verify(&token, now_s).err(), expected, "{now_s}");
    }
    let for_ever = signed(&claims(json!({"exp": u64::MAX})));
    assert!(verifier().verify(&for_ever, NOW_S).is_ok());
}

#[test]
fn a_token_without_an_end_is_refused_unless_the_settings_take_it() {
    let token = signed(&claims(json!({"sub": "u1"})));
    let refusal = verifier().verify(&token, NOW_S).unwrap_err();
    assert!(refusal.name() == "claims" && refusal.sentence().starts_with("exp: "));
    let mut lenient = verifier();
    lenient.rules.allow_without_exp = true;
    assert_eq!(lenient.verify(&token, NOW_S).unwrap().expires_at, None);
}

#[test]
fn audience_and_issuer_have_to_be_ours_where_they_are_set() {
    let mut strict = verifier();
    strict.rules.audience = vec!["chat".into(), "game".into()];
    strict.rules.issuer = "https://example.com".into();
    for (aud, iss, expected) in [
        (json!("chat"), json!("https://example.com"), None),
        (json!(["other", "game"]), json!("https://example.com"), None),
        (json!("other"), json!("https://example.com"), Some(Refusal::Audience)),
        (json!([]), json!("https://example.com"), Some(Refusal::Audience)),
        (json!({"chat": 1}), json!("https://example.com"), Some(Refusal::Audience)),
        (Json::Null, json!("https://example.com"), Some(Refusal::Audience)),
        (json!("chat"), json!("https://example.com/"), Some(Refusal::Issuer)),
        (json!("chat"), json!(["https://example.com"]), Some(Refusal::Issuer)),
        (json!("chat"), Json::Null, Some(Refusal::Issuer)),
    ] {
        let token = signed(&claims(json!({"exp": NOW_S + 60, "aud": aud, "iss": iss})));
        assert_eq!(strict.verify(&token, NOW_S).err(), expected, "{aud} {iss}");
        assert!(
            verifier().verify(&token, NOW_S).is_ok(),
            "where they are not set, they are nobody's business"
        );
    }
}

#[test]
fn a_key_is_found_by_its_name_and_a_token_that_names_none_tries_those_of_its_algorithm() {
    let pair = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let named = |name: &str, pair: &rcgen::KeyPair| {
        let mut key = Key::of_pem(&pair.public_key_pem()).unwrap().remove(0);
        key.kid = Some(name.into());
        key
    };
    let (a, b) = (pair(), pair());
    let set = |key_set| Verifier::new(rules(), Vec::new(), key_set);
    let both = set(KeySet::Fetched(vec![named("a", &a), named("b", &b)]));
    let sign = |pair: &rcgen::KeyPair, kid: Option<&str>| {
        SigningKey::from_pem(&pair.serialize_pem()).unwrap().sign(&valid(), kid).unwrap()
    };
    assert!(both.verify(&sign(&b, Some("b")), NOW_S).is_ok());
    assert!(both.verify(&sign(&b, None), NOW_S).is_ok());
    assert_eq!(both.verify(&sign(&b, Some("a")), NOW_S), Err(Refusal::Signature));
    assert_eq!(both.verify(&sign(&b, Some("c")), NOW_S), Err(Refusal::Key));
    let away = set(KeySet::Away);
    for kid in [None, Some("a")] {
        assert_eq!(away.verify(&sign(&a, kid), NOW_S), Err(Refusal::KeysAway));
    }
    // No key set has secrets.
    assert_eq!(away.verify(&signed(&valid()), NOW_S), Err(Refusal::Algorithm));
}

#[test]
fn a_key_set_is_asked_for_a_name_that_is_unknown_although_keys_without_a_name_are_there() {
    let pair = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let public = |pair: &rcgen::KeyPair| Key::of_pem(&pair.public_key_pem()).unwrap().remove(0);
    let sign = |pair: &rcgen::KeyPair, kid| {
        SigningKey::from_pem(&pair.serialize_pem()).unwrap().sign(&valid(), kid).unwrap()
    };
    let (own, listed, new) = (pair(), pair(), pair());
    let listed_key = Key { kid: Some("listed".into()), ..public(&listed) };
    for own_key in [Key::of_secret(SECRET).unwrap(), public(&own)] {
        let with = |key_set| Verifier::new(rules(), vec![own_key.clone()], key_set);
        let fetched = with(KeySet::Fetched(vec![listed_key.clone()]));
        assert_eq!(fetched.verify(&sign(&new, Some("new")), NOW_S), Err(Refusal::Key));
        assert_eq!(fetched.verify(&sign(&new, Some("listed")), NOW_S), Err(Refusal::Signature));
        assert!(fetched.verify(&sign(&listed, Some("listed")), NOW_S).is_ok());
        let away = with(KeySet::Away);
        assert_eq!(away.verify(&sign(&new, Some("new")), NOW_S), Err(Refusal::KeysAway));
        assert_eq!(away.verify(&sign(&new, None), NOW_S), Err(Refusal::KeysAway));
    }
    let with_own = Verifier::new(rules(), vec![public(&own)], KeySet::Fetched(vec![listed_key]));
    assert!(with_own.verify(&sign(&own, Some("any")), NOW_S).is_ok(), "a key without a name takes any");
    let forged = SigningKey::hs256("another secret of more than 32 bytes").sign(&valid(), Some("x")).unwrap();
    let with_secret = Verifier::new(rules(), vec![Key::of_secret(SECRET).unwrap()], KeySet::Away);
    assert_eq!(with_secret.verify(&forged, NOW_S), Err(Refusal::Signature));
}

#[test]
fn keys_of_the_wrong_kind_are_refused_with_what_to_do() {
    let refused = |pem: &str| Key::of_pem(pem).unwrap_err().to_string();
    assert!(refused(include_str!("../testing/rsa.pem")).starts_with("it has a private key"));
    assert!(refused(include_str!("../testing/ec384.pub.pem")).starts_with("it has a key that is none of"));
    assert!(
        refused("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
            .starts_with("it has a key that")
    );
    assert!(refused("-----BEGIN ").starts_with("it has a key that"));
    assert!(refused("").starts_with("it has no key"));
    assert_eq!(Key::of_secret("short").unwrap_err(), crate::keys::KeyProblem::ShortSecret(5));
}

#[test]
fn keys_of_a_set_that_are_for_something_else_are_passed_over() {
    let good = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let with = |more: Json| {
        let mut key = good.clone();
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let read = |keys: &[Json]| Key::of_key_set(json!({"keys": keys}).to_string().as_bytes());
    for bad in [
        with(json!({"use": "enc"})),
        with(json!({"alg": "RS256"})),
        with(json!({"crv": "P-256", "kty": "EC", "y": "AA"})),
        with(json!({"x": "AAAA"})),
        json!({"kty": "oct", "k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}),
        json!({"kty": "future", "y": 1}),
        json!("no key"),
    ] {
        assert_eq!(read(&[bad.clone(), good.clone()]).map(|keys| keys.len()).unwrap(), 1, "{bad}");
        assert!(read(&[bad]).is_err());
    }
    assert!(read(&vec![good.clone(); 100]).is_ok());
    assert_eq!(read(&vec![good; 101]).unwrap_err(), crate::keys::KeyProblem::TooManyKeys);
    for text in ["", "[]", "{\"keys\": 5}", "<html>"] {
        assert_eq!(Key::of_key_set(text.as_bytes()).unwrap_err(), crate::keys::KeyProblem::NoKeySet);
    }
}
