use super::*;

#[test]
fn g35_only_our_own_user_is_let_in() {
    let socket = UnixSocket::path("/run/x.sock");
    assert_eq!(socket.admit(Ok(1000), 1000).unwrap().name(), "uid:1000");
    let why = socket.admit(Ok(1001), 1000).unwrap_err();
    assert_eq!(why, "user 1001 is not the user of this process");
    assert!(socket.admit(Ok(0), 1000).is_err());
    assert!(socket.admit(Err(io::Error::other("gone")), 1000).is_err());
}

#[test]
fn g35_who_is_allowed_is_let_in_beside_our_own_user() {
    let socket = UnixSocket::path("/run/x.sock").allow_user(33);
    assert_eq!(socket.admit(Ok(33), 1000).unwrap().name(), "uid:33");
    assert_eq!(socket.admit(Ok(1000), 1000).unwrap().name(), "uid:1000");
    let why = socket.admit(Ok(34), 1000).unwrap_err();
    assert_eq!(
        why,
        "user 34 is neither the user of this process nor one that is allowed"
    );
}

#[test]
fn a_path_is_no_name_and_a_name_no_path() {
    let hidden = UnixSocket::path("\0orders");
    assert!(hidden.address().is_err());
    assert!(UnixSocket::path("/run/or\0ders").address().is_err());
    assert!(UnixSocket::abstract_name("").address().is_err());
    let named = UnixSocket::abstract_name("orders\n");
    assert_eq!(named.to_string(), "@orders\\n");
    assert_eq!(
        named.address().unwrap().as_os_str().as_bytes(),
        b"\0orders\n"
    );
}
