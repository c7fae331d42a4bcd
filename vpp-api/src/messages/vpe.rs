//! VPP as a program (VPP: `vpp/api/vpe.api`).

crate::messages! {
    /// Which VPP this is.
    request ShowVersion("show_version", "51077d14") {} reply ShowVersionReply("show_version_reply", "c919bde1") {
        retval: i32,
        program: string[32],
        version: string[32],
        build_date: string[32],
        build_directory: string[256],
    };
}
