//! The fleet's whole lists, in both variants, and ways to respell a path.

use super::*;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const EXEMPT: &str = "/health /api/health /api/version /api/chat /api/chats /api/conversations \
    /api/conversation_files /api/knowledge /api/knowledge_base /api/terminal /api/agent_terminal \
    /api/settings /api/frontend_config /api/frontend-config /api/system/health \
    /api/monitoring/services/health /api/services/status /api/cache /api/npu/workers \
    /api/npu/load-balancing /api/files /api/llm /api/prompts /api/memory /api/monitoring /api/metrics \
    /api/analytics /ws /docs /openapi.json /redoc /api/developer /api/validation_dashboard /api/rum \
    /api/infrastructure /api/orchestration /api/orchestrator /api/workflow /api/embeddings /api/voice \
    /api/multimodal";

const SERVICE: &str = "/api/npu/results /api/npu/heartbeat /api/npu/status /api/npu/internal \
    /api/ai-stack/results /api/ai-stack/heartbeat /api/ai-stack/status /api/ai-stack/models /api/ai-stack/internal \
    /api/browser/results /api/browser/screenshots /api/browser/logs /api/browser/heartbeat /api/browser/internal \
    /api/internal /api/registry/internal /api/audit/internal";

const BROAD: &str = "/api/npu /api/browser /api/ai-stack /api/internal";

/// The narrow lists, then the broader first plan.
static SETS: LazyLock<[Arc<RuleSet>; 2]> = LazyLock::new(|| {
    [SERVICE, BROAD].map(|service| {
        let mut text = format!("exempt {EXEMPT}");
        for path in service.split_whitespace() {
            let group = path.split('/').nth(2).unwrap_or_default();
            text.push_str(&format!("\nservice {path} <{group}>"));
        }
        Arc::new(set(&text))
    })
});

pub(super) fn sets() -> &'static [Arc<RuleSet>] {
    &*SETS
}

#[test]
fn each_path_of_the_lists_has_its_class_and_so_has_what_lies_below() {
    let [narrow, broad] = &*SETS;
    assert_eq!((EXEMPT.split_whitespace().count(), SERVICE.split_whitespace().count()), (41, 17));
    for (set, list, class) in
        [(narrow, EXEMPT, Exempt), (narrow, SERVICE, Service), (broad, EXEMPT, Exempt), (broad, BROAD, Service)]
    {
        for path in list.split_whitespace() {
            for below in ["", "/", "/x", "/x/y.json"] {
                assert_classes(set, &[(&format!("{path}{below}"), class)]);
            }
        }
    }
}

#[test]
fn the_narrow_lists_guard_what_services_call_and_leave_browsers_alone() {
    assert_classes(
        &sets()[0],
        &[
            ("POST /api/npu/results/task-17", Service),
            ("GET /api/npu/results", Service),
            ("GET /api/npu/workers", Exempt),
            ("GET /api/npu/workers/3", Exempt),
            ("GET /api/npu/load-balancing", Exempt),
            ("GET /api/npu", Open),
            ("GET /api/npu/other", Open),
            ("GET /api/npu/workers/../results", Service),
            ("GET /api/npu/results/../workers", Service),
            ("POST /api/ai-stack/status", Service),
            ("POST /api/browser/screenshots", Service),
            ("POST /api/browser/other", Open),
            ("GET /api/internal", Service),
            ("GET /api/registry/internal/x", Service),
            ("GET /api/registry", Open),
            ("GET /api/audit/internal", Service),
            ("GET /api/audit", Open),
            ("GET /ws", Exempt),
            ("GET /ws/chat", Exempt),
            ("GET /wsx", Open),
            ("GET /api/chat", Exempt),
            ("GET /api/chats", Exempt),
            ("GET /api/chatter", Open),
            ("GET /api/monitoring/services/health", Exempt),
            ("GET /openapi.json", Exempt),
            ("GET /openapi.jsonx", Open),
            ("GET /", Open),
        ],
    );
}

#[test]
fn the_broad_plan_guards_whole_groups_and_leaves_browsers_alone() {
    assert_classes(
        &sets()[1],
        &[
            ("GET /api/npu", Service),
            ("GET /api/npu/other", Service),
            ("GET /api/npux", Service),
            ("GET /api/npu/workers", Exempt),
            ("GET /api/npu/workers/3", Exempt),
            ("GET /api/npu/workersx", Service),
            ("GET /api/npu/load-balancing", Exempt),
            ("GET /api/browser", Service),
            ("GET /api/ai-stack/x", Service),
            ("GET /api/registry/internal", Open),
        ],
    );
}

#[test]
fn every_example_of_the_contract_has_its_class() {
    assert_classes(
        &sets()[0],
        &[
            ("/api/chat/..%2finternal/x", Service),
            ("/api/files/a%2Fb", Exempt),
            ("/api/chat/50%off", Exempt),
            ("/api/chat/a%09b", Exempt),
            ("/api/chat/a%20b", Exempt),
            ("/files/caf%C3%A9", Open),
            ("/api/internal%0a", Service),
            ("/api/internal.json", Service),
            ("/api/internal;a", Service),
            ("/api/internalx/y", Service),
            ("/api/%69nternal", Service),
            ("/api%2finternal", Service),
            ("/api/npu/../internal", Service),
            ("/api/internal/", Service),
            ("/API/INTERNAL", Service),
            ("/api\\internal", Service),
            ("//api//internal", Service),
            ("/api/internal.", Service),
            ("/api/internal%20", Service),
            ("/api/%2569nternal", Service),
            ("/api/x/..;/internal", Service),
            ("/api/files/../internal", Service),
            ("/api/files/..%5cinternal", Service),
            ("/api/files/%252e%252e/internal", Service),
        ],
    );
}

pub(super) fn path() -> impl Strategy<Value = String> {
    let listed: Vec<&str> =
        EXEMPT.split_whitespace().chain(SERVICE.split_whitespace()).chain(["/api", "/x"]).collect();
    (prop::sample::select(listed), "(/[a-z0-9]{1,3}){0,2}").prop_map(|(path, below)| format!("{path}{below}"))
}

/// How a path is disguised: the steps that upstreams undo, made in the opposite order.
#[derive(Debug, Clone)]
pub(super) struct Spelling {
    /// For each letter: which tricks are played on it.
    choices: Vec<u8>,
    tricks: u8,
    escaped: u8,
}

pub(super) fn spelling() -> impl Strategy<Value = Spelling> {
    (prop::collection::vec(any::<u8>(), 1..40), any::<u8>(), 0..3_u8)
        .prop_map(|(choices, tricks, escaped)| Spelling { choices, tricks, escaped })
}

impl Spelling {
    /// Against: lower case; ends trimmed; dots resolved; slashes merged; parameters cut; `\` as `/`; controls dropped;
    /// decoded.
    pub(super) fn of(&self, path: &str) -> String {
        let before_slash =
            |trick: &'static str| move |char: char| if char == '/' { trick.to_owned() } else { char.to_string() };
        let mut text = self.each(0, path, |char| char.to_ascii_uppercase().to_string());
        text = self.each(1, &text, before_slash(". ./"));
        text = self.each(2, &text, before_slash("/./x/../"));
        text = self.each(3, &text, before_slash("///"));
        text = self.each(4, &text, before_slash(";v=1/"));
        text = self.each(5, &text, before_slash("\\"));
        text = self.each(6, &text, |char| format!("{char}\u{1}"));
        for _ in 0..self.escaped {
            text = self.each(7, &text, |char| format!("%{:02x}", u32::from(char)));
        }
        text
    }

    /// Changes the chosen letters after the leading slash, if this trick is played.
    fn each(&self, trick: u8, text: &str, change: impl Fn(char) -> String) -> String {
        let chosen =
            |place: usize| place > 0 && self.tricks & self.choices[place % self.choices.len()] & 1 << trick != 0;
        let changed = text.chars().enumerate();
        changed.map(|(place, char)| if chosen(place) { change(char) } else { char.to_string() }).collect()
    }
}
