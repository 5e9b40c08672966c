//! `[keys]` and `service.key`: where keys come from, and what each contradiction is told.

use super::*;
use crate::config::{KeySourceKind, Keys, Redis, RedisPassword, RedisServers, defaults};

const URL: &str = "redis = \"redis://172.16.168.23:6379/0\"\n";

fn with(keys: &str) -> String {
    format!("{LEAST}[keys]\n{keys}")
}

fn redis(keys: &str) -> Redis {
    good(&with(keys)).keys.redis.unwrap()
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    Files::new(text).load_with(&variables(pairs), &Overrides::default())
}

fn single(host: &str, port: u16) -> RedisServers {
    RedisServers::Single((host.into(), port))
}

#[test]
fn redis_in_the_file_is_asked_first_and_files_after_it_where_they_were_named() {
    let (files, redis) = (KeySourceKind::Files, KeySourceKind::Redis);
    for (keys, sources) in [
        ("".to_owned(), vec![files]),
        ("dir = \"/k\"\n".to_owned(), vec![files]),
        (URL.to_owned(), vec![redis]),
        (format!("{URL}dir = \"/k\"\n"), vec![redis, files]),
        (format!("{URL}sources = [\"redis\", \"files\"]\n"), vec![redis, files]),
        (format!("{URL}sources = [\"files\", \"redis\"]\n"), vec![files, redis]),
        (format!("{URL}dir = \"/k\"\nsources = [\"redis\"]\n"), vec![redis]),
        (format!("{URL}sources = [\"files\"]\n"), vec![files]),
    ] {
        assert_eq!(good(&with(&keys)).keys.sources, sources, "{keys}");
    }
    let flag = Overrides { keys_dir: Some("/k".into()), ..Overrides::default() };
    let named = Files::new(&with(URL)).load_with(&root(), &flag).unwrap().config.keys;
    assert_eq!(named.sources, [redis, files], "--keys names a directory as well");
}

#[test]
fn every_value_of_keys_arrives() {
    let keys = good(&with(
        "dir = \"/k\"\nredis = \"rediss+sentinel://me@a,b:2/mymaster/3\"\nredis_password_file = \"/pw\"\n\
         redis_tls = { ca = \"/ca.pem\", name = \"redis.internal\", cert = \"/c.pem\", key = \"/k.pem\" }\n\
         sealed_copy = \"/seal\"\ncache = \"1m\"\nstale = \"2h\"\ngrace = \"3h\"\nttl = \"30d\"\noverlap = \"4h\"\n\
         unused_for = \"5h\"\nrotate_before = \"3d\"\n",
    ))
    .keys;
    let hour = Duration::from_secs(3600);
    let redis = keys.redis.clone().unwrap();
    let sentinels = vec![("a".to_owned(), 26379), ("b".to_owned(), 2)];
    assert_eq!(redis.servers, RedisServers::Sentinel { master: "mymaster".into(), sentinels });
    assert_eq!((redis.database, redis.user.as_deref()), (3, Some("me")));
    assert_eq!(redis.password, Some(RedisPassword::File("/pw".into())));
    let tls = redis.tls.as_ref().unwrap();
    assert_eq!((tls.ca.as_deref(), tls.name.as_deref()), (Some("/ca.pem".as_ref()), Some("redis.internal")));
    assert!(tls.identity.is_some());
    let Keys { cache, stale, grace, ttl, overlap, unused_for, rotate_before, .. } = keys;
    assert_eq!((cache, stale, grace), (hour / 60, 2 * hour, 3 * hour));
    assert_eq!((ttl, overlap, unused_for, rotate_before), (720 * hour, 4 * hour, 5 * hour, 72 * hour));
    assert_eq!(keys.sealed_copy, Some("/seal".into()));
}

#[test]
fn what_is_said_of_redis_belongs_to_its_url() {
    for (keys, messages) in [
        (
            format!("{URL}redis_tls = {{ ca = \"ca.pem\" }}\n"),
            "`keys.redis_tls` says nothing: the URL is one without TLS",
        ),
        (
            "redis = \"rediss+cluster://a,b\"\nredis_tls = { name = \"x\" }\n".into(),
            "`keys.redis_tls.name` is one name for all nodes of a cluster",
        ),
        ("redis_tls = { ca = \"ca.pem\" }\n".into(), "`keys.redis_tls` says nothing: no Redis is named"),
        ("redis_password_file = \"/pw\"\n".into(), "`keys.redis_password_file` says nothing: no Redis is named"),
        ("sources = [\"redis\", \"files\"]\n".into(), "`keys.sources` asks Redis, but no Redis is named"),
        (format!("{URL}sources = [\"redis\", \"redis\"]\n"), "an entry of `keys.sources` is there twice"),
        (format!("{URL}ttl = \"2d\"\n"), "`keys.rotate_before` (7d) is not shorter than `keys.ttl` (2d)"),
        (
            format!("{URL}rotate_before = \"95d\"\n"),
            "`keys.rotate_before` (95d) is not shorter than `keys.ttl` (90d)",
        ),
        (format!("{URL}overlap = \"90d\"\n"), "`keys.overlap` (90d) is not shorter than `keys.ttl` (90d)"),
        (format!("{URL}redis_db = 1\n"), "unknown key `keys.redis_db`"),
        (
            "redis = \"redis://h/0?x=1\"\nredis_tls = { ca = \"ca.pem\" }\n".into(),
            "`keys.redis` is `\"redis://h/0?x=1\"`",
        ),
    ] {
        let problems = bad(&with(&keys));
        let found: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found.join(" | "), messages, "{keys}\n{problems}");
    }
    assert!(redis("redis = \"rediss://h\"\nredis_tls = { ca = \"/ca\" }\n").tls.is_some());
    assert!(redis("redis = \"rediss://h\"\n").tls.is_some());
    assert!(redis("redis = \"rediss+cluster://a,b\"\nredis_tls = { ca = \"/ca\" }\n").tls.is_some());
}

#[test]
fn a_service_signs_with_the_key_that_it_names() {
    let me = |service: &str, keys: &str| format!("{LEAST}[service]\nid = \"me\"\n{service}[keys]\n{keys}");
    let own = |service: &str, keys: &str| good(&me(service, keys)).service.unwrap().key;
    assert_eq!(own("key = \"redis\"\n", URL), OwnKey::Redis);
    assert_eq!(own("", URL), OwnKey::Redis, "where every other key is");
    assert_eq!(own("", ""), OwnKey::Directory);
    assert_eq!(own("key_file = \"/k\"\n", URL), OwnKey::File("/k".into()));
    for (service, keys, messages) in [
        ("key = \"redis\"\nkey_file = \"/k\"\n", URL, "`service.key` contradicts `service.key_file`"),
        ("key = \"redis\"\n", "", "`service.key` is in Redis, but no Redis is named"),
        (
            "key = \"redis\"\n",
            "redis = \"redis://h\"\nsources = [\"files\"]\n",
            "`service.key` is in Redis, which `keys.sources` does not ask",
        ),
        ("key = \"redis\"\n", "redis = \"h\"\n", "`keys.redis` is `\"h\"`"),
    ] {
        let problems = bad(&me(service, keys));
        let found: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found.join(" | "), messages, "{service}{keys}\n{problems}");
    }
    // A key by mistake is not shown.
    let secret = "0123456789abcdef".repeat(4);
    let problems = bad(&me(&format!("key = \"{secret}\"\n"), URL));
    assert!(problems.len() == 1 && !problems.to_string().contains(&secret), "{problems}");
    assert!(problems.to_string().contains("key_file"), "{problems}");
    let file = load(&me("key = \"redis\"\n", URL), &[("SERVICE_KEY_FILE", "/env.env")]).unwrap();
    assert_eq!(file.config.service.unwrap().key, OwnKey::File("/env.env".into()), "the environment beats the file");
}

#[test]
fn the_fleets_redis_is_asked_where_something_asks_for_it() {
    let fleet = [("REDIS_HOST", "172.16.168.23"), ("REDIS_PORT", "6380"), ("REDIS_PASSWORD", "s3cret")];
    let asks = with("sources = [\"redis\"]\n");
    let found = load(&asks, &fleet).unwrap().config.keys.redis.unwrap();
    assert_eq!(found.servers, single("172.16.168.23", 6380));
    assert!(matches!(found.password, Some(RedisPassword::Environment(_))) && found.tls.is_none());
    assert_eq!(load(&asks, &fleet[..1]).unwrap().config.keys.redis.unwrap().servers, single("172.16.168.23", 6379));
    let own = format!("{LEAST}[service]\nid = \"me\"\nkey = \"redis\"\n[keys]\ndir = \"/k\"\n");
    let keys = load(&own, &fleet).unwrap().config.keys;
    assert_eq!(keys.sources, [KeySourceKind::Redis, KeySourceKind::Files]);
    for (name, value, message) in [
        ("REDIS_HOST", "redis://h", "`REDIS_HOST` is `redis://h`"),
        ("REDIS_HOST", "h:6379", "`REDIS_HOST` is `h:6379`"),
        ("REDIS_PORT", "x", "`REDIS_PORT` is `x`"),
        ("REDIS_PORT", "0", "`REDIS_PORT` is `0`"),
        ("REDIS_PORT", "65536", "`REDIS_PORT` is `65536`"),
    ] {
        let mut pairs = fleet.to_vec();
        pairs.retain(|(other, _)| *other != name);
        pairs.push((name, value));
        let problems = load(&asks, &pairs).unwrap_err();
        assert!(problems.len() == 1 && problems.to_string().contains(message), "{problems}");
        assert_eq!(problems.to_json()[0]["variable"], name);
        assert!(load(&with("dir = \"/k\"\n"), &pairs).is_ok(), "where nobody asks nobody looks");
    }
}

#[test]
fn a_sidecar_with_its_keys_in_files_does_not_care_for_the_fleets_redis() {
    let fleet = [("REDIS_HOST", "172.16.168.23"), ("REDIS_PORT", "6379"), ("REDIS_PASSWORD", "s3cret")];
    for keys in ["dir = \"/k\"\n", "sources = [\"files\"]\n"] {
        let loaded = load(&with(keys), &fleet).unwrap();
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!((loaded.config.keys.sources, loaded.config.keys.redis), (vec![KeySourceKind::Files], None));
    }
    let flags = Overrides {
        upstream: Some("http://127.0.0.1:8000".into()),
        listen: Some("127.0.0.1:8001".into()),
        protect: vec!["/x".into()],
        ..Overrides::default()
    };
    let alone = super::super::load(None, &variables(&fleet), &flags, Purpose::Inspect).unwrap().config.keys;
    assert_eq!((alone.sources, alone.make_on_start), (vec![KeySourceKind::Files], true));
    if !std::path::Path::new(defaults::KEYS_DIR).exists() {
        // Keys can be nowhere else.
        assert_eq!(load(LEAST, &fleet).unwrap().config.keys.sources, [KeySourceKind::Redis]);
    }
}

#[test]
fn a_url_is_never_changed_by_variables_and_another_host_is_told() {
    let keys = "redis = \"rediss://172.16.168.23:6380/1\"\n";
    let loaded = load(&with(keys), &[("REDIS_HOST", "172.16.168.23"), ("REDIS_PORT", "6379")]).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.keys.redis.unwrap().servers, single("172.16.168.23", 6380));
    let other = load(&with(keys), &[("REDIS_HOST", "10.0.0.1")]).unwrap();
    assert_eq!(other.config.keys.redis.unwrap().servers, single("172.16.168.23", 6380));
    assert!(other.warnings.to_string().contains("names another Redis"), "{}", other.warnings);
}

#[test]
fn a_password_comes_from_its_file_or_the_environment_and_is_never_shown() {
    let secret = [("REDIS_PASSWORD", "s3cret")];
    let password = |keys: &str| load(&with(keys), &secret).unwrap().config.keys.redis.unwrap().password;
    assert!(matches!(password(URL), Some(RedisPassword::Environment(text)) if text.as_str() == "s3cret"));
    let file = format!("{URL}redis_password_file = \"/pw\"\n");
    assert_eq!(password(&file), Some(RedisPassword::File("/pw".into())), "the file was named on purpose");
    let loaded = load(&with(URL), &secret).unwrap();
    assert!(!format!("{:?}{:?}", loaded.config, variables(&secret)).contains("s3cret"));
    for url in ["redis://:s3cret@h", "redis://me:s3 cret@h/0", "rediss+sentinel://:s3cret@a,b/m", "redis://:s3cret"] {
        let problems = bad(&with(&format!("redis = \"{url}\"\n")));
        let shown = format!("{problems}{}{}{problems:?}", problems.to_json(), problems.one_line());
        assert!(problems.len() == 1 && !shown.contains("cret\"") && !shown.contains("cret@"), "{shown}");
        assert!(url == "redis://:s3cret" || shown.contains("redis_password_file"), "{shown}");
    }
    let alone = load(&with("redis = \"redis://me@h\"\n"), &[]).unwrap().warnings;
    assert!(alone.to_string().contains("has no password"), "{alone}");
}

#[test]
fn what_redis_needs_is_read_where_it_is_named() {
    let files = Files::new(&with(&format!(
        "{URL}redis_password_file = \"pw\"\nsealed_copy = \"seal\"\n[audit]\nfile = \"audit.jsonl\"\n"
    )));
    let told = |purpose| {
        let problems = files.load_for(purpose).err().unwrap_or_default();
        let dir = files.dir.path().display().to_string();
        lines(&problems).iter().map(|line| line.replace(&dir, "DIR")).collect::<Vec<_>>()
    };
    let missing = [
        "9:23 the password of Redis DIR/pw: there is no such file",
        "10:15 the key of the sealed copy DIR/seal: there is no such file",
    ];
    assert_eq!(told(Purpose::Run), missing);
    assert_eq!(told(Purpose::Check), missing, "the directory is there: somebody forgot them");
    files.write("pw", "s3cret");
    files.private("seal", "too short");
    let problems = files.load_for(Purpose::Run).unwrap_err().to_string();
    assert!(problems.contains("chmod 600") && problems.contains("64 hex digits"), "{problems}");
    assert!(!problems.contains("s3cret") && !problems.contains("too short"), "{problems}");
    files.private("pw", " \n");
    files.private("seal", &"a".repeat(64));
    assert_eq!(told(Purpose::Run), ["9:23 the password of Redis DIR/pw: the file is empty"]);
    files.private("pw", "s3cret\n");
    let loaded = files.load_for(Purpose::Run).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let Loaded { watched, .. } = &loaded;
    let shown = format!("{watched:?}");
    assert!(shown.contains("/pw\"") && shown.contains("/seal\""), "{shown}");
    assert!(!shown.contains(defaults::KEYS_DIR), "a directory that is no source is not watched: {shown}");
}

#[test]
fn a_directory_that_is_no_source_need_not_be_there() {
    let files = |keys: &str| Files::new(&with(&format!("{keys}[audit]\nfile = \"audit.jsonl\"\n")));
    let alone = files(&format!("{URL}dir = \"none\"\nsources = [\"redis\"]\n")).load_for(Purpose::Run).unwrap();
    assert!(alone.warnings.is_empty() && alone.keys.unwrap().is_empty(), "{}", alone.warnings);
    let behind = files(&format!("{URL}dir = \"none\"\n")).load_for(Purpose::Run).unwrap();
    assert!(behind.warnings.to_string().contains("does not exist on this machine"), "{}", behind.warnings);
    let first = files(&format!("{URL}dir = \"none\"\nsources = [\"files\", \"redis\"]\n")).load_for(Purpose::Run);
    assert!(first.unwrap_err().to_string().contains("does not exist"));
    // An own key beside it is read all the same.
    let own = files(&format!("{URL}dir = \"none\"\n[service]\nid = \"me\"\nkey_file = \"me.env\"\n"));
    assert!(own.load_for(Purpose::Run).unwrap_err().to_string().contains("no such file"));
    own.private("me.env", &format!("SERVICE_KEY={}\n", "a".repeat(64)));
    assert_eq!(own.load_for(Purpose::Run).unwrap().keys.unwrap().len(), 1);
}

#[test]
fn a_secret_that_is_missing_because_nothing_is_set_up_is_a_warning_for_check() {
    let files = Files::new(&with(&format!(
        "{URL}redis_password_file = \"none/pw\"\nsealed_copy = \"none/seal\"\n[service]\nid = \"me\"\n\
         key_file = \"none/me.env\"\n[enforcement]\noverride_token_file = \"none/token\"\n[audit]\nfile = \"audit.jsonl\"\n"
    )));
    let check = files.load_for(Purpose::Check).unwrap();
    assert_eq!(check.warnings.len(), 4, "{}", check.warnings);
    assert_eq!(files.load_for(Purpose::Run).unwrap_err().len(), 4);
    std::fs::create_dir(files.path("none")).unwrap();
    assert_eq!(files.load_for(Purpose::Check).unwrap_err().len(), 4, "somebody set it up and forgot them");
}

#[test]
fn every_mistake_of_both_directions_is_told_at_once_in_the_order_of_the_file() {
    let problems = bad(r#"[inbound]
listen = "0.0.0.0:8001"
upstream = ["http://127.0.0.1:9001", "http://127.0.0.1:18001", "http://127.0.0.1:18001"]
tls = { cert = "c.pem", client = "required" }
upstream_tls = { ca = "x" }
[[outbound]]
listen = "0.0.0.0:9001"
upstream = "http://172.16.168.20:8001"
allow = ["h:1"]
allow_uids = [1000]
[[outbound]]
listen = "127.0.0.1:9000"
forward_proxy = true
[keys]
redis = "redis://:s3cret pass@172.16.168.23:6379/0"
redis_password = "hunter2"
sources = ["redis", "file"]
[[rule]]
paths = ["/x"]
access = "service"
[service]
key = "redis"
key_file = "/x"
"#);
    assert_eq!(
        lines(&problems),
        [
            "3:13 the upstream 127.0.0.1:9001 is one of this sidecar's own listeners",
            "3:64 the upstream 127.0.0.1:18001 is listed twice",
            "4:7 `inbound.tls.key` is missing",
            "4:34 `inbound.tls.client` says nothing without `client_ca`: no certificate is asked for",
            "5:16 `inbound.upstream_tls` says nothing: no upstream begins with `https://`",
            "6:1 nobody is named whose signature requests get here",
            "7:10 `outbound.listen` is 0.0.0.0:9001, which other machines can reach",
            "9:9 `outbound.allow` says nothing without `forward_proxy = true`",
            "10:14 `outbound.allow_uids` says nothing here: only of a unix socket the user at the other end is known",
            "13:17 `outbound.allow` is missing: a forward proxy for no host",
            "15:9 `keys.redis` is `\"redis://******* ****@172.16.168.23:6379/0\"`: there is a password in it, which does not belong into this file",
            "16:1 unknown key `keys.redis_password`",
            "17:21 an entry of `keys.sources` is `\"file\"`",
            "22:7 `service.key` contradicts `service.key_file`",
            "23:12 `service.key_file` says nothing without `service.id`",
        ]
    );
    let shown = format!("{problems}{}", problems.to_json());
    assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
}
