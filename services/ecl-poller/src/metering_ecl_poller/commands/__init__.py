"""The commands of metering-ecl, by what they are about."""
