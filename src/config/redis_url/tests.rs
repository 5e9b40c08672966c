use super::*;

fn servers(list: &[(&str, u16)]) -> Vec<(String, u16)> {
    list.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect()
}

#[test]
fn one_server_is_a_host_a_port_and_a_database() {
    for (text, host, port, database, user, is_tls) in [
        ("redis://172.16.168.23:6379/0", "172.16.168.23", 6379, 0, None, false),
        ("redis://redis-stack", "redis-stack", 6379, 0, None, false),
        ("redis://redis-stack/", "redis-stack", 6379, 0, None, false),
        ("REDIS://h:1/15", "h", 1, 15, None, false),
        ("rediss://h:6380/2", "h", 6380, 2, None, true),
        ("redis://countersign@h:1", "h", 1, 0, Some("countersign"), false),
        ("redis://[::1]:6379/1", "::1", 6379, 1, None, false),
        ("rediss://[::1]", "::1", 6379, 0, None, true),
    ] {
        let url = redis_url(text).unwrap();
        assert_eq!(url.servers, RedisServers::Single((host.into(), port)), "{text}");
        assert_eq!((url.database, url.user.as_deref(), url.is_tls), (database, user, is_tls), "{text}");
    }
}

#[test]
fn sentinels_name_the_master_behind_them_in_every_spelling() {
    for (scheme, is_tls) in
        [("redis+sentinel", false), ("redis-sentinel", false), ("sentinel", false), ("rediss+sentinel", true)]
    {
        let url = redis_url(&format!("{scheme}://a:1,b,[::1]:3/mymaster")).unwrap();
        let sentinels = servers(&[("a", 1), ("b", 26379), ("::1", 3)]);
        assert_eq!(url.servers, RedisServers::Sentinel { master: "mymaster".into(), sentinels });
        assert_eq!((url.database, url.is_tls), (0, is_tls));
    }
    let url = redis_url("redis+sentinel://me@a/main-1/3").unwrap();
    assert_eq!((url.database, url.user.as_deref()), (3, Some("me")));
}

#[test]
fn a_cluster_is_some_of_its_nodes_in_every_spelling() {
    for (scheme, is_tls) in
        [("redis+cluster", false), ("redis-cluster", false), ("cluster", false), ("rediss+cluster", true)]
    {
        for path in ["", "/", "/0"] {
            let url = redis_url(&format!("{scheme}://a:1,b{path}")).unwrap();
            assert_eq!(url.servers, RedisServers::Cluster(servers(&[("a", 1), ("b", 6379)])), "{scheme}{path}");
            assert_eq!((url.database, url.is_tls), (0, is_tls));
        }
    }
}

#[test]
fn what_is_no_such_url_is_refused() {
    for bad in [
        "",
        "redis",
        "redis:",
        "redis://",
        "redis:///0",
        "172.16.168.23:6379",
        "http://h:1",
        "unix:///run/redis.sock",
        "redis+unix:///run/redis.sock",
        "redissentinel://h/m",
        "redis+sentinels://h/m",
        "+sentinel://h/m",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:x",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/9999999",
        "redis://a,b",
        "redis://::1:6379",
        "redis://[::1",
        "redis://a b",
        "redis://h?db=1",
        "rediss://h/0#insecure",
        "redis://@h",
        "redis://a b@h",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel:///m",
        "redis+sentinel://h,/m",
        "redis+sentinel://h/a b",
        "redis+cluster://",
        "redis+cluster://h/1",
        "redis+cluster://h,",
    ] {
        assert!(redis_url(bad).is_err(), "{bad:?} was taken");
    }
    assert!(redis_url("h:6379").unwrap_err().fix.unwrap().contains("redis://h:6379/0"));
    assert!(redis_url("redis://a,b").unwrap_err().fix.unwrap().contains("redis+cluster"));
}

#[test]
fn a_password_is_refused_and_never_repeated() {
    for text in [
        "redis://:s3cret@h",
        "redis://me:s3cret@h:1/0",
        "redis://me:@h",
        "rediss://:s3/cret@h",
        "redis://:s3@cret@h",
        "redis://:s3 cret@h",
        "redis+sentinel://:s3cret@a,b/m",
        "redis+cluster://:s3?cret#@a,b",
    ] {
        let error = redis_url(text).unwrap_err();
        assert!(error.fix.as_ref().unwrap().contains("redis_password_file"), "{text}: {error:?}");
        assert!(!format!("{error:?}").contains("cret@") && !format!("{error:?}").contains("s3"), "{error:?}");
    }
}
