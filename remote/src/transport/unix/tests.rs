use super::*;

#[test]
fn g35_only_our_own_user_is_let_in() {
    assert_eq!(admit(Ok(1000), 1000).unwrap().name(), "uid:1000");
    let why = admit(Ok(1001), 1000).unwrap_err();
    assert_eq!(why, "user 1001 is not the user of this process");
    assert!(admit(Err(io::Error::other("gone")), 1000).is_err());
}
