//! Judged by others: env files as the application itself reads them, with the real pydantic-settings.

use std::collections::BTreeMap;
use std::process::Command;

use harness::tools::python_with;
use probe::envfile::render;

/// As an application would pin them.
const PACKAGES: [&str; 2] = ["pydantic-settings==2.16.3", "python-dotenv==1.2.4"];

/// Reads the names of a JSON list from an env file through `BaseSettings`, and prints what it got as JSON.
const READER: &str = r#"
import json, sys
from pydantic import create_model
from pydantic_settings import BaseSettings, SettingsConfigDict
path, names = sys.argv[1], json.loads(sys.argv[2])
base = type("Base", (BaseSettings,), {"model_config": SettingsConfigDict(env_file=path, env_file_encoding="utf-8")})
settings = create_model("Settings", __base__=base, **{name.lower(): (str, ...) for name in names})()
print(json.dumps({name: getattr(settings, name.lower()) for name in names}))
"#;

#[test]
fn the_application_reads_what_was_rendered() {
    let python = python_with(&PACKAGES).unwrap();
    let values: BTreeMap<String, String> = [
        "hello",
        "",
        "one\ntwo\n",
        "one\r\ntwo\rthree",
        "'single' \"double\" `back`",
        "$HOME ${HOME} ${HOME:-x} $${HOME} ${",
        "=a=b==",
        "a #b # c",
        "\\n \\\\ \\' \\\" \\",
        " \t both ends \t ",
        "héllo 日本語 🔑 \u{feff}\u{200b}",
        "{\"a\": [1, null]}",
        &"0123456789abcdef".repeat(2048),
    ]
    .iter()
    .zip(0..)
    .map(|(value, number)| (format!("VALUE_{number}"), (*value).to_owned()))
    .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.env");
    let text = render(values.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
    std::fs::write(&file, text).unwrap();
    let names: Vec<_> = values.keys().collect();
    let output = Command::new(python)
        .args(["-c", READER])
        .arg(&file)
        .arg(serde_json::to_string(&names).unwrap())
        .env("HOME", "/the/environment/must/not/show")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read, values);
}
