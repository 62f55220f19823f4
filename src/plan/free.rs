//! What the schema of the common kinds says about fields, by their name: which lists are keyed, which maps are one value, which
//! fields hold amounts, and where an empty value and an absent one differ. Source: the `+listMapKey`, `+structType`, `+mapType`
//! and `omitempty` markers of `k8s.io/api`.

use serde_json::Value;

/// Maps whose keys are data: an absent member is never the same as an empty one.
const DATA: [&str; 6] = ["data", "stringData", "binaryData", "labels", "annotations", "parameters"];

/// Maps that the API treats as one value: a member more is a difference too.
const ATOMIC: [&str; 4] = ["selector", "nodeSelector", "labelSelector", "matchLabels"];

/// Pointers in the schema whose absence means something else than their zero.
const TOLD_FROM_ZERO: [&str; 9] = [
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "emptyDir",
    "enableServiceLinks",
    "fsGroup",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
];

/// Maps whose members are quantities.
const AMOUNTS: [&str; 4] = ["limits", "requests", "hard", "capacity"];

/// Fields that are quantities.
const AMOUNT: [&str; 4] = ["sizeLimit", "divisor", "averageValue", "storage"];

/// Fields that take a number or a text.
const NUMBER_OR_TEXT: [&str; 6] =
    ["port", "targetPort", "maxSurge", "maxUnavailable", "minAvailable", "partition"];

/// How the members of a map are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// Fields of a schema.
    Fields,
    /// Keys that are data.
    Data,
    /// Fields of one value: none may be missing or added.
    Exact,
    /// Quantities.
    Amounts,
}

/// How a leaf is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// As it stands.
    Plain,
    /// As an amount.
    Amount,
    /// A number and its digits are the same.
    NumberOrText,
}

pub(super) fn members(field: &str) -> Members {
    if DATA.contains(&field) {
        Members::Data
    } else if ATOMIC.contains(&field) {
        Members::Exact
    } else if AMOUNTS.contains(&field) {
        Members::Amounts
    } else {
        Members::Fields
    }
}

pub(super) fn leaf(field: &str) -> Leaf {
    if AMOUNT.contains(&field) {
        Leaf::Amount
    } else if NUMBER_OR_TEXT.contains(&field) {
        Leaf::NumberOrText
    } else {
        Leaf::Plain
    }
}

/// Tells whether the server may drop this value of this field on the way in, so that its absence is as good.
pub(super) fn may_be_dropped(field: &str, wanted: &Value) -> bool {
    let zero = match wanted {
        Value::Null => return true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) if members(field) != Members::Fields => map.is_empty(),
        Value::Object(map) => map.iter().all(|(name, member)| may_be_dropped(name, member)),
    };
    zero && !TOLD_FROM_ZERO.contains(&field)
}

/// The key of an item of a keyed list, or `None` where the list is one value.
pub(super) fn item_key(list: &str, item: &Value) -> Option<String> {
    let text = |name: &str| match item.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match list {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            text("name")
        }
        "volumeMounts" => text("mountPath"),
        "volumeDevices" => text("devicePath"),
        "hostAliases" => text("ip"),
        "ports" => {
            let port = text("containerPort").or_else(|| text("port"))?;
            Some(format!("{port}/{}", text("protocol").unwrap_or_else(|| "TCP".to_owned())))
        }
        "topologySpreadConstraints" => {
            Some(format!("{}/{}", text("topologyKey")?, text("whenUnsatisfiable")?))
        }
        _ => None,
    }
}
