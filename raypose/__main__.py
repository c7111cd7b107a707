"""The command line: `python -m raypose`, and what the script `raypose` calls."""

from raypose.import_path import leave_out_current_directory

leave_out_current_directory()

from raypose.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
