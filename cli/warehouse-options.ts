// The options by which commands that only look at tables find them: those of `up`, the variables and the file too.
import { configOf, mergeOptions } from '../config.ts'
import { type WarehouseConfig, warehouseConfig } from '../sink/open-warehouse.ts'

const NAMES = [
  'data',
  'config',
  'catalog',
  'warehouse',
  'warehouse-timeout-ms',
  'catalog-credential',
  'catalog-credential-file',
  'catalog-token',
  'catalog-token-file',
  'catalog-oauth2-uri',
  'catalog-oauth2-scope',
  's3-path-style',
] as const

/** As parseArgs wants them. */
export const warehouseFlags = Object.fromEntries(
  NAMES.map((name) => [name, { type: 'string' as const }]),
) as Record<(typeof NAMES)[number], { type: 'string' }>

export const WAREHOUSE_HELP = `Where the tables are, as for \`millrace up\`, also by its variables and its configuration file:

  --data DIR                 data folder [./data]
  --config FILE              configuration file
  --catalog sqlite|sqlite:FILE|URL
                             catalog.db in DIR, that file, or an Iceberg REST catalog [sqlite]
  --warehouse TEXT           folder or s3://BUCKET/PREFIX [DIR/warehouse]; with a REST catalog its warehouse's name
  --catalog-credential-file, --catalog-token-file, --catalog-oauth2-uri, --catalog-oauth2-scope, --s3-path-style`

/** Errors: those of the configuration. */
export function warehouseOfFlags(flags: Readonly<Record<string, string | undefined>>): WarehouseConfig {
  return warehouseConfig(configOf(mergeOptions(flags)))
}
