//! The pod template: one container that passes the *restricted* pod security standard, with probes and time to leave routers.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::objects::Files;
use super::{RenderContext, values};
use crate::declare::template;
use crate::model::IMAGE_PLACEHOLDER;
use crate::model::declaration::{Declaration, RunAs, Workload};
use crate::model::policy::CheckKind;

/// The name of the port, by which everything but the container itself names it.
pub(super) const PORT: &str = "http";

/// Returns whole seconds, rounded up: Kubernetes knows no parts of one.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Renders `spec.template.spec`.
pub(super) fn spec(declaration: &Declaration, context: &RenderContext<'_>, files: Option<&Files>) -> Value {
    let workload = &declaration.workload;
    let grace = seconds(workload.termination_grace.unwrap_or(context.platform.termination_grace));
    let mut spec = Map::new();
    let mut put = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    put("automountServiceAccountToken", json!(false));
    put("enableServiceLinks", json!(false));
    put("terminationGracePeriodSeconds", json!(grace));
    put("securityContext", pod_security(workload, context));
    if let Some(files) = files {
        put("volumes", json!([{"name": "files", "configMap": {"name": files.name}}]));
    }
    put("containers", json!([container(declaration, context, files, grace)]));
    Value::Object(spec)
}

fn pod_security(workload: &Workload, context: &RenderContext<'_>) -> Value {
    let mut security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let uid = match workload.run_as {
        None => Some(context.platform.run_as),
        Some(RunAs::Uid(uid)) => Some(uid),
        Some(RunAs::Image) => None,
    };
    if let (Some(uid), Some(security)) = (uid, security.as_object_mut()) {
        security.insert("runAsUser".to_owned(), json!(uid));
    }
    security
}

fn container(
    declaration: &Declaration,
    context: &RenderContext<'_>,
    files: Option<&Files>,
    grace: u64,
) -> Value {
    let workload = &declaration.workload;
    let fill = |text: &String| template::fill(text, values(declaration, context));
    let mut container = Map::new();
    let mut put = |key: &str, value: Value| container.insert(key.to_owned(), value);
    put("name", json!("app"));
    put("image", json!(IMAGE_PLACEHOLDER));
    put("ports", json!([{"name": PORT, "containerPort": workload.port(), "protocol": "TCP"}]));
    // What is empty is left out: the API server drops it, and what it gives back must equal what was applied.
    for (key, words) in [("command", &workload.command), ("args", &workload.args)] {
        if let Some(words) = words.as_ref().filter(|words| !words.is_empty()) {
            put(key, json!(words.iter().map(fill).collect::<Vec<_>>()));
        }
    }
    let env = |(name, value): (&String, &String)| {
        let value = fill(value);
        if value.is_empty() { json!({"name": name}) } else { json!({"name": name, "value": value}) }
    };
    if !workload.env.is_empty() {
        put("env", workload.env.iter().map(env).collect());
    }
    let mount = |(path, key): &(String, String)| json!({"name": "files", "mountPath": path, "subPath": key, "readOnly": true});
    if let Some(files) = files {
        put("volumeMounts", files.keys.iter().map(mount).collect());
    }
    put("resources", resources(workload, context));
    for (name, probe) in probes(workload) {
        put(name, probe);
    }
    let pause = seconds(context.platform.pre_stop).min(grace);
    if pause > 0 {
        put("lifecycle", json!({"preStop": {"sleep": {"seconds": pause}}}));
    }
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    put("securityContext", security);
    Value::Object(container)
}

fn resources(workload: &Workload, context: &RenderContext<'_>) -> Value {
    let memory = workload.memory.as_ref().unwrap_or(&context.platform.memory);
    let cpu = workload.cpu.as_ref().or(workload.cpu_limit.as_ref()).unwrap_or(&context.platform.cpu);
    let memory =
        if workload.memory.is_none() { workload.memory_limit.as_ref().unwrap_or(memory) } else { memory };
    let mut limits = json!({"memory": workload.memory_limit.as_ref().unwrap_or(memory)});
    if let (Some(cpu), Some(limits)) = (&workload.cpu_limit, limits.as_object_mut()) {
        limits.insert("cpu".to_owned(), json!(cpu));
    }
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": limits})
}

/// Three probes of one question. A container has five minutes to start, asked every second, before the liveness probe may end it;
/// a container that was slow to start is thus never killed for it, and one that is fast is ready at once.
fn probes(workload: &Workload) -> Vec<(&'static str, Value)> {
    let port = workload.probe.as_ref().and_then(|probe| probe.port).filter(|port| *port != workload.port());
    let port = port.map_or_else(|| json!(PORT), |port| json!(port));
    let question = match workload.probe.as_ref().map(|probe| &probe.kind) {
        Some(CheckKind::None) => return Vec::new(),
        None | Some(CheckKind::Tcp) => ("tcpSocket", json!({"port": port})),
        // Kubelet's own check over gRPC takes a number only; what the server would add is written.
        Some(CheckKind::Grpc) => {
            let number = workload.probe.as_ref().and_then(|probe| probe.port).unwrap_or(workload.port());
            ("grpc", json!({"port": number, "service": ""}))
        }
        Some(CheckKind::Http { path, tls, status: _ }) => {
            let scheme = if *tls { "HTTPS" } else { "HTTP" };
            ("httpGet", json!({"path": path, "port": port, "scheme": scheme}))
        }
    };
    let probe = |period: u32, failures: u32| {
        json!({
            question.0: question.1,
            "periodSeconds": period, "timeoutSeconds": 2, "failureThreshold": failures, "successThreshold": 1,
        })
    };
    vec![("startupProbe", probe(1, 300)), ("readinessProbe", probe(5, 3)), ("livenessProbe", probe(10, 6))]
}
