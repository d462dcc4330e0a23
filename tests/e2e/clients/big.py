"""One trace of 30,000 spans. Writes its truth to the file named as argument."""

import sys

from traced import traced, write_truth

with traced("import.run", resource="nightly"):
    for day in range(131):
        with traced("import.day", resource=f"day {day}", tags={"day": str(day)}):
            for row in range(228):
                with traced("import.row", resource=f"row {row}", kind="worker", metrics={"row": row}):
                    pass
write_truth(sys.argv[1])
