import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['eslint.config.js', 'dist/', 'coverage/', 'node_modules/', '.cache/'] },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // A certificate that cannot be checked is a registry that cannot be reached.
      'no-restricted-syntax': [
        'error',
        { selector: "Property[key.name='rejectUnauthorized'][value.value=false]", message: 'TLS is always verified.' },
        { selector: 'ExportDefaultDeclaration', message: 'Name what you export.' },
      ],
    },
  },
  {
    // What it imports is not here but with whoever wants it.
    files: ['examples/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
  },
  {
    // What runs in a browser knows one, and none of Node.
    files: ['src/adapters/http/status/status.js'],
    languageOptions: { parserOptions: { projectService: false, project: './tsconfig.browser.json' } },
  },
  {
    files: ['test/**'],
    // chai asserts by property access, sinon by naming a stubbed method; stand-ins are async in order to fit a port.
    rules: {
      '@typescript-eslint/no-unused-expressions': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
);
