//! The fleet this product was asked for, on this machine: six VMs with their own addresses, unmodified Python programs of which
//! only `BASE_URL` or `HTTP_PROXY` is changed (or not even that), the shipped configurations, Redis with a password, and a
//! stranger on the same wire.
//!
//! One fleet is started for all acts, because starting one takes longer than most of them. The programs work from the first act
//! to the last; what is promised is that none of their calls ever fails, whatever happens to keys and to Redis meanwhile.

mod cast;
mod hostile;
mod outages;
mod rollout;
mod rotation;

use self::cast::{Fleet, Program, Servers, VMS, ip};
use super::support::eventually;
use std::process::Command;
use std::time::Instant;

#[test]
fn unmodified_programs_are_authenticated_through_rotations_and_outages_and_a_stranger_gets_nothing() {
    let Some(mut fleet) = Fleet::start(&VMS, Servers::One) else { return };
    let mut programs = programs(&fleet);
    act("every call is authenticated end to end", || end_to_end(&fleet, &mut programs));
    act("a stranger gets nothing", || hostile::gets_nothing(&fleet));
    act("keys are rotated under load", || rotation::of_every_service(&fleet, &mut programs));
    act("what lapses is rotated, what is revoked is gone", || rotation::ends_in_time(&fleet, &mut programs));
    act("Redis hangs, dies and comes back under load", || outages::of_redis(&mut fleet, &mut programs));
    act("the last word of every program", || {
        for program in programs {
            let name = program.name.clone();
            println!("  {name}: {} calls, none failed", program.finish());
        }
        for vm in fleet.vms {
            assert_only_authenticated(&fleet, vm.last);
        }
    });
}

#[test]
fn a_failover_of_redis_under_load_is_noticed_by_nobody_and_its_new_master_is_followed() {
    let Some(mut fleet) = Fleet::start(&VMS[..2], Servers::Watched) else { return };
    let base = [("BASE_URL", "http://127.0.0.1:9001")];
    let mut programs = [fleet.program(22, "npu_worker", &base), fleet.program(22, "npu_worker", &base)];
    for program in &mut programs {
        program.goes_on(40);
    }
    outages::failover(&mut fleet, &mut programs);
    for program in programs {
        program.finish();
    }
    assert_only_authenticated(&fleet, 20);
}

#[test]
fn a_rollout_reaches_everything_shrugs_off_floods_survives_a_kill_and_takes_itself_back_for_a_broken_key() {
    let Some(mut fleet) = Fleet::start(&VMS[..3], Servers::One) else { return };
    rollout::play(&mut fleet);
}

fn act(promise: &str, play: impl FnOnce()) {
    let began = Instant::now();
    println!("{promise} ...");
    play();
    println!("  {:.1} s", began.elapsed().as_secs_f64());
}

/// One program a VM, each led to its sidecar in another way.
fn programs(fleet: &Fleet) -> Vec<Program> {
    redirect(fleet, 25);
    let listeners = [("NPU_WORKER_URL", 9022), ("AI_STACK_URL", 9024), ("BROWSER_SERVICE_URL", 9025)];
    let urls = listeners.map(|(name, port)| (name, format!("http://127.0.0.1:{port}")));
    let urls: Vec<_> = urls.iter().map(|(name, url)| (*name, url.as_str())).collect();
    vec![
        fleet.program(22, "npu_worker", &[("BASE_URL", "http://127.0.0.1:9001")]),
        fleet.program(
            24,
            "ai_stack",
            &[("HTTP_PROXY", "http://127.0.0.1:9000"), ("NO_PROXY", "127.0.0.1,localhost")],
        ),
        fleet.program(25, "browser_service", &[]),
        fleet.program(20, "main_backend", &urls),
    ]
}

/// What leads a hard-coded `http://172.16.168.20:8001` to the signing listener: everybody's connections but the sidecar's own.
fn redirect(fleet: &Fleet, last: u8) {
    let rule = format!(
        "table ip countersign {{ chain output {{ type nat hook output priority -100; \
         ip daddr {} tcp dport 8001 meta skgid != {} redirect to :9001; }}; }}",
        ip(20),
        cast::SIDECAR_GROUP
    );
    let mut nft = Command::new("nft");
    nft.arg(rule);
    fleet.host(last).run(&nft);
}

fn end_to_end(fleet: &Fleet, programs: &mut [Program]) {
    for program in programs.iter_mut() {
        program.goes_on(60);
        program.assert_nothing_failed();
    }
    for vm in fleet.vms {
        assert_only_authenticated(fleet, vm.last);
    }
    // Each direction has its records, on both ends.
    for (signer, verifier, service) in [(22, 20, "npu-worker"), (24, 20, "ai-stack"), (25, 20, "browser-service")]
        .into_iter()
        .chain([22, 24, 25].map(|callee| (20, callee, "main-backend")))
    {
        eventually(&format!("records of {service} on .{signer} and .{verifier}"), || {
            let signed = fleet.audit(signer, service).iter().any(|record| record["direction"] == "outbound");
            let verified = fleet.audit(verifier, service).iter().any(|record| {
                record["direction"] == "inbound"
                    && record["outcome"] == "authenticated"
                    && record["service"] == service
                    && record["client"] == ip(signer).to_string()
            });
            (signed && verified).then_some(())
        });
    }
}

/// What ran on a guarded path of this VM was called by the service that may, and proved it.
#[track_caller]
fn assert_only_authenticated(fleet: &Fleet, last: u8) {
    let vm = VMS.iter().find(|vm| vm.last == last).unwrap();
    let seen = fleet.seen(vm);
    let mut guarded = 0;
    for call in &seen {
        let path = call["path"].as_str().unwrap();
        let expected = match last {
            20 => ["npu", "ai-stack", "browser"]
                .into_iter()
                .find(|part| path.starts_with(&format!("/api/{part}/")))
                .map(|part| match part {
                    "npu" => "npu-worker",
                    "browser" => "browser-service",
                    part => part,
                }),
            _ => path.starts_with("/api/").then_some("main-backend"),
        };
        if let Some(expected) = expected {
            assert_eq!(call["service"], expected, ".{last}: {call}");
            guarded += 1;
        }
    }
    assert!(guarded > 0, "nothing guarded ran on .{last}: {seen:?}");
}
