use super::*;

#[test]
fn what_incarnations_have_written_is_read_in_order_and_garbage_is_named() {
    let unique = callboard::RequestKey::new();
    let path = std::env::temp_dir().join(format!("pay-once-{unique}.log"));
    assert_eq!(read(&path), Ok(Vec::new()), "no file, no events");
    for incarnation in [1, 2] {
        let clock = Clock::manual();
        let log = Log::append(&path, &clock, Incarnation(incarnation)).unwrap();
        log.note(7, format!("{RECEIVED} {incarnation}"));
    }
    let events = read(&path).unwrap();
    let texts: Vec<String> = events.iter().map(ToString::to_string).collect();
    let expected = [
        "bank 1    received, attempt 1",
        "bank 2    received, attempt 2",
    ];
    assert_eq!(texts, expected);
    assert_eq!(events[0].payment, Some(7));
    assert_eq!(events[0].at, Clock::manual().unix());

    std::fs::write(&path, "1\t2\t3\tx\n1\t2\n").unwrap();
    let error = read(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error, "the log: line 2 is no event");
}
