use super::*;

#[test]
fn only_files_of_pairs_are_swept_away() {
    let name = "0190a5a2-0000-7000-8000-000000000001";
    for ending in ["up", "down"] {
        let names = pair_of(&format!("{name}.{ending}")).unwrap();
        assert_eq!(names.up(), format!("{name}.up"));
        assert_eq!(names.down(), format!("{name}.down"));
    }
    for other in ["door", "notes.up", name, "../x.up", ""] {
        assert!(pair_of(other).is_none(), "{other}");
    }
    // What is written to the door is this long.
    assert_eq!(format!("{}\n", Uuid::nil().hyphenated()).len(), LINE);
}
