use super::*;

#[test]
fn nothing_that_looks_like_a_secret_is_shown() {
    let key = "0123456789abcdef".repeat(4);
    for (text, secret) in [
        ("override_token = \"s3cret-s3cret\"".into(), "s3cret"),
        ("override_token = s3cret".into(), "s3cret"),
        ("override-token=\"s3cret # x\"".into(), "s3cret"),
        ("\"token\" = \"s3cret\"".into(), "s3cret"),
        ("redis_password = 's3cret'".into(), "s3cret"),
        ("x = { Secret = \"s3cret\" }".into(), "s3cret"),
        ("key = \"s3cret\" # in [service]".into(), "s3cret"),
        ("redis = \"redis://:s3cret@10.0.0.1\"".into(), "s3cret"),
        ("upstream = \"http://u:s3c/ret@h\"".into(), "u:s3c/ret@"),
        ("redis = \"redis://:s3 cr'et@10.0.0.1\" # x".into(), "cr'et"),
        ("redis = \"rediss://me:s3\\\"cret@h\"".into(), "cret"),
        ("redis = 'redis+sentinel://:s3\"cret@a,b/m'".into(), "cret"),
        ("redis = redis://:s3 cret@h".into(), "cret"),
        ("redis = \"redis://:s3cret\"".into(), "s3cret"),
        ("redis://:s3cret@h".into(), "s3cret"),
        ("redis_tls = { ca = \"a\" }, key = \"s3cret\"".into(), "s3cret"),
        ("tls = { cert = \"a\", key = \"-----BEGIN s3cret\" }".into(), "s3cret"),
        ("[inbound.tls]\n[service]\nkey = \"s3cret\"".into(), "s3cret"),
        ("[tls.x]\nkey = \"s3cret\"".into(), "s3cret"),
        ("tls = { cert = \"a\" }, key = \"s3cret\"".into(), "s3cret"),
        ("tls = { key = \"a\", token = \"s3cret\" }".into(), "s3cret"),
        (format!("tls = {{ key = \"{key}\" }}"), key.as_str()),
        (format!("key_file = \"{key}\""), key.as_str()),
        (format!("# {key}"), key.as_str()),
        ("token = \"sécret-é\"".into(), "é"),
    ] {
        let text: String = text;
        let shown = masked(&text);
        assert!(!shown.contains(secret), "{shown}");
        assert_eq!(shown.len(), text.len(), "spans must stay: {shown}");
    }
}

#[test]
fn what_is_no_secret_stays_readable() {
    for text in [
        "override_token_file = \"/etc/countersign/override-token\"",
        "key_file = \"/etc/countersign/keys/npu-worker.env\"",
        "key = \"redis\"",
        "tls = { cert = \"a\", key = \"b\" }",
        "tls = { key = \"certs/b.pem\", client_ca = \"c\" }",
        "[inbound]\ntls.key = \"b\"",
        "[inbound.tls]\ncert = \"a\"\nkey = \"b\" # of the listener\n",
        "[[inbound.tls]]\nkey = 'b'",
        "[keys]\ndir = \"/etc/countersign/keys\"",
        "redis = \"redis://172.16.168.23:6379/0\"",
        "upstream = \"http://:8000\"",
        "redis_password_file = \"/etc/countersign/redis-password\"",
        "upstream_tls = { cert = \"a\", key = \"b\" }",
        "redis_tls = { ca = \"a\", key = \"b.pem\" }",
        "[keys.redis_tls]\nkey = \"b.pem\"\n",
        "mode = \"log\"\npercentage = 100\n",
        "upstream = \"http://127.0.0.1:8000\"",
        "",
        "é = \"ü\"\n",
    ] {
        assert_eq!(masked(text), text);
    }
}
