//! Triggers: order, failures, nesting, showtime, languages.

use serde_json::json;
use switchboard_tests::Site;

#[test]
fn handlers_of_two_plugins_fire_in_byte_order_of_their_names() {
    let site = Site::with(&["fixture_probe", "fixture_rival"]);
    let fired = site.json(&["trigger", "21001"]);
    let names: Vec<_> = fired["values"].as_array().unwrap().iter().map(|value| value["name"].clone()).collect();
    assert_eq!(names, ["01_z", "B", "a_c", "alpha", "x_b"]);
    assert_eq!(fired["last"], json!("x_b"));
}
